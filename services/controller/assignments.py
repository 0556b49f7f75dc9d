"""Tells workers which variant to hold; off the control loop, one task per worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass

import grpc

from diffserve.core import Plan
from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import worker_pb2, worker_pb2_grpc
from services.controller.membership import Member, Membership

logger = logging.getLogger(__name__)

ASSIGN_TIMEOUT_S = 180.0
"""Assign returns when the variant is loaded; large weights from a cold disk take minutes."""


class WorkerClients:
    """One channel per worker address, opened on first use."""

    def __init__(self, message_bytes_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._channels: dict[str, grpc.aio.Channel] = {}

    def stub(self, address: str) -> worker_pb2_grpc.WorkerAsyncStub:
        """Return a client of the worker at ``address``."""
        if address not in self._channels:
            self._channels[address] = open_channel(address, self._message_bytes_max)
        return worker_pb2_grpc.WorkerStub(self._channels[address])

    async def keep(self, addresses: Collection[str]) -> None:
        """Close the channels to all other addresses."""
        for address in [a for a in self._channels if a not in addresses]:
            await self._channels.pop(address).close()

    async def close(self) -> None:
        """Close all channels."""
        await self.keep(())


@dataclass(frozen=True, slots=True)
class _Order:
    """What one process of a worker is told to hold; a restarted worker needs telling again."""

    incarnation: str
    variants: tuple[str, ...]
    """Its placement first."""


class Assigner:
    """Pushes assignments until workers acknowledge them.

    ``push`` is called with every plan and at least once per period: what failed is tried again
    then. A task that still waits for an older order of its worker is replaced.
    """

    def __init__(
        self,
        membership: Membership,
        clients: WorkerClients,
        on_order: Callable[[str], None] = lambda variant_id: None,
        on_loaded: Callable[[str, float], None] = lambda variant_id, load_s: None,
    ) -> None:
        """Start with nobody told anything.

        Args:
            membership: Who there is.
            clients: How to reach them.
            on_order: Is told of every order, by the variant placed.
            on_loaded: Is told how many seconds a worker took to load and warm a variant.
        """
        self._on_loaded = on_loaded
        self._on_order = on_order
        self._membership = membership
        self._clients = clients
        self._acknowledged: dict[str, _Order] = {}
        self._running: dict[str, tuple[_Order, asyncio.Task[None]]] = {}

    def push(self, plan: Plan) -> None:
        """Start an Assign call to every worker that does not hold what ``plan`` says."""
        members = {m.reported.worker_id: m for m in self._membership.members()}
        for worker_id in [w for w in self._running if w not in members]:
            self._cancel(worker_id)
        self._acknowledged = {w: o for w, o in self._acknowledged.items() if w in members}
        for worker_id, member in members.items():
            if member.problem and worker_id not in plan.placement:
                self._membership.set_problem(worker_id, "")
        for worker_id in plan.placement:
            if worker_id in members:
                self._push_to(members[worker_id], plan.variants_of(worker_id), plan.plan_id)

    def _push_to(self, member: Member, variants: tuple[str, ...], plan_id: int) -> None:
        worker_id = member.reported.worker_id
        order = _Order(member.incarnation, variants)
        running, _ = self._running.get(worker_id, (None, None))
        is_done = self._acknowledged.get(worker_id) == order and all(
            variant_id in member.reported.resident for variant_id in variants
        )
        if running is None and is_done:
            if member.problem:  # of an order before this one
                self._membership.set_problem(worker_id, "")
            return
        if running == order:
            return
        self._cancel(worker_id)
        self._on_order(variants[0])
        task = asyncio.create_task(self._assign(member, order, plan_id))
        self._running[worker_id] = (order, task)

    async def _assign(self, member: Member, order: _Order, plan_id: int) -> None:
        worker = member.reported
        placed, *coresident = order.variants
        request = worker_pb2.AssignRequest(
            variant_id=placed, plan_id=plan_id, coresident=coresident
        )
        ids = {"worker_id": worker.worker_id, "plan_id": plan_id}
        try:
            stub = self._clients.stub(worker.address)
            response = await stub.Assign(request, timeout=ASSIGN_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            logger.warning(
                "worker %s did not take variant %s (%s: %s); trying again next period",
                *(worker.worker_id, ", ".join(order.variants), error.code().name, error.details()),
                extra=ids,
            )
            if error.code() is not grpc.StatusCode.ABORTED:  # else another plan has spoken
                self._membership.set_problem(worker.worker_id, error.details() or "")
        else:
            self._membership.set_problem(worker.worker_id, "")
            self._acknowledged[worker.worker_id] = order
            self._membership.set_resident(worker.worker_id, response.resident)
            if response.load_s > 0.0 and not coresident:
                self._on_loaded(placed, response.load_s)
            logger.info(
                "worker %s holds variant %s (loaded and warm in %.1f s)",
                *(worker.worker_id, ", ".join(order.variants), response.load_s),
                extra=ids,
            )
        finally:
            current = self._running.get(worker.worker_id)
            if current is not None and current[0] is order:
                del self._running[worker.worker_id]

    def _cancel(self, worker_id: str) -> None:
        _, task = self._running.pop(worker_id, (None, None))
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        """Cancel what is under way."""
        tasks = [task for _, task in self._running.values()]
        for worker_id in list(self._running):
            self._cancel(worker_id)
        await asyncio.gather(*tasks, return_exceptions=True)
