"""Follows the controller's plans: by stream, and from Redis while the controller is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import grpc
from google.protobuf import json_format

from diffserve.core import Plan
from diffserve.rpc import convert
from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import controller_pb2, controller_pb2_grpc
from diffserve.telemetry.store import STORE_ERRORS, TelemetryStore

logger = logging.getLogger(__name__)

RETRY_S = 0.5


class PlanFollower:
    """Hands every plan it sees to ``apply``; the receiver ignores what is not newer."""

    def __init__(
        self,
        controller_address: str,
        watcher_id: str,
        store: TelemetryStore | None,
        apply: Callable[[Plan], None],
        address: str = "",
    ) -> None:
        """Connect lazily.

        Args:
            controller_address: ``host:port``.
            watcher_id: Own name.
            store: Redis; None: there is none.
            apply: Takes every plan.
            address: ``host:port`` at which the controller can ask for single queries.
        """
        self._channel = open_channel(controller_address)
        self._watcher_id = watcher_id
        self._store = store
        self._apply = apply
        self._address = address
        self.has_plan = asyncio.Event()

    async def run(self) -> None:
        """Follow plans until cancelled."""
        stub = controller_pb2_grpc.ControllerStub(self._channel)
        was_watching = True
        while True:
            try:
                request = controller_pb2.WatchPlanRequest(
                    watcher_id=self._watcher_id, address=self._address
                )
                async for message in stub.WatchPlan(request):
                    was_watching = True
                    self._receive(message)
            except grpc.aio.AioRpcError as error:
                if was_watching:
                    logger.warning("controller: %s; the last plan stays", error.details())
                was_watching = False
            await self._recover()
            await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def _recover(self) -> None:
        """Take the plan that Redis remembers."""
        if self._store is None:
            return
        try:
            document = await self._store.load_plan()
        except STORE_ERRORS:
            return
        if not document:
            return
        try:
            message = json_format.Parse(document, controller_pb2.Plan(), ignore_unknown_fields=True)
        except json_format.ParseError as error:
            logger.warning("redis: the plan there cannot be read: %s; the last one stays", error)
            return
        self._receive(message)

    def _receive(self, message: controller_pb2.Plan) -> None:
        try:
            plan = convert.plan_from_proto(message)
            self._apply(plan)
        except Exception:
            # Whatever is wrong with one plan, the next one may be well: nobody else follows them.
            logger.exception("plan %d cannot be followed", message.plan_id)
            return
        if plan.placement:
            self.has_plan.set()
