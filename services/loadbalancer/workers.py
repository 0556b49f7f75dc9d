"""Channels to the workers of the plan, and a watch on the health of each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from diffserve.core import Plan
from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import worker_pb2, worker_pb2_grpc

logger = logging.getLogger(__name__)

RECHECK_S = 0.2
"""Pause before a worker that refused or broke is looked at again."""
ABORT_TIMEOUT_S = 2.0
CLOSE_GRACE_S = 60.0
"""A worker that left the plan may still finish the batches it has."""


@dataclass(slots=True)
class _Client:
    address: str
    channel: grpc.aio.Channel
    stub: worker_pb2_grpc.WorkerAsyncStub
    watch: asyncio.Task[None]


class WorkerClients:
    """One client per worker of the plan.

    The health watch is a stream: a killed worker is noticed when its connection breaks, a hung
    one when it reports NOT_SERVING, and both when they are back.
    """

    def __init__(self, message_bytes_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._clients: dict[str, _Client] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.on_found: Callable[[str], None] = lambda worker_id: None
        self.on_lost: Callable[[str], None] = lambda worker_id: None

    def follow(self, plan: Plan) -> None:
        """Open channels to new or moved workers; close those of workers that left the plan."""
        for worker_id in sorted(self._clients):
            worker = plan.workers.get(worker_id)
            if worker is None or worker.address != self._clients[worker_id].address:
                self._close(self._clients.pop(worker_id), grace_s=CLOSE_GRACE_S)
        for worker_id in sorted(plan.workers):
            if worker_id not in self._clients:
                self._open(worker_id, plan.workers[worker_id].address)

    def stub(self, worker_id: str) -> worker_pb2_grpc.WorkerAsyncStub:
        """Return the stub of a worker of the plan."""
        return self._clients[worker_id].stub

    def suspect(self, worker_id: str) -> None:
        """Stop using a worker that broke or refused a batch, until a fresh look finds it well."""
        client = self._clients.get(worker_id)
        if client is None:
            return
        self.on_lost(worker_id)
        client.watch.cancel()
        client.watch = asyncio.create_task(
            self._watch(worker_id, client.channel, pause_s=RECHECK_S)
        )

    async def abort(self, worker_id: str, query_id: str) -> None:
        """Stop one query of a running batch; a worker that is gone has stopped anyway."""
        client = self._clients.get(worker_id)
        if client is None:
            return
        with contextlib.suppress(grpc.aio.AioRpcError):
            request = worker_pb2.AbortRequest(query_ids=[query_id])
            await client.stub.Abort(request, timeout=ABORT_TIMEOUT_S)

    async def close(self) -> None:
        """Close every channel."""
        for worker_id in sorted(self._clients):
            self._close(self._clients.pop(worker_id), grace_s=None)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _open(self, worker_id: str, address: str) -> None:
        # Queries of a batch that did not reach its worker may go to another one by now.
        channel = open_channel(address, self._message_bytes_max, retries=False)
        self._clients[worker_id] = _Client(
            address=address,
            channel=channel,
            stub=worker_pb2_grpc.WorkerStub(channel),
            watch=asyncio.create_task(self._watch(worker_id, channel, pause_s=0.0)),
        )

    def _close(self, client: _Client, grace_s: float | None) -> None:
        client.watch.cancel()
        task = asyncio.create_task(client.channel.close(grace_s))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _watch(self, worker_id: str, channel: grpc.aio.Channel, pause_s: float) -> None:
        """Report found and lost for as long as the worker is in the plan."""
        await asyncio.sleep(pause_s)
        stub = health_pb2_grpc.HealthStub(channel)
        is_well: bool | None = None
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for state in stub.Watch(health_pb2.HealthCheckRequest()):
                    is_serving = state.status == health_pb2.HealthCheckResponse.SERVING
                    is_well = self._report(worker_id, is_well, is_serving)
            is_well = self._report(worker_id, is_well, False)
            await asyncio.sleep(RECHECK_S)

    def _report(self, worker_id: str, was_well: bool | None, is_well: bool) -> bool:
        if is_well and was_well is not True:
            logger.info("worker %s is serving", worker_id)
            self.on_found(worker_id)
        elif not is_well and was_well is not False:
            logger.warning("worker %s is not serving", worker_id)
            self.on_lost(worker_id)
        return is_well
