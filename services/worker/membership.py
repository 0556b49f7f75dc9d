"""Tells the controller that this worker is there, and what it measured."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import controller_pb2, controller_pb2_grpc
from services.worker.latencies import Latencies

logger = logging.getLogger(__name__)

TIMEOUT_S = 1.0
BACKOFF_S_MIN, BACKOFF_S_MAX = 0.1, 1.0
REPORT_PERIOD_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the controller is told about this worker.

    Attributes:
        worker_id: Stable name of the slot.
        address: ``host:port`` at which others reach it.
        device: ``cpu``, ``cuda:0`` and so on.
        resident: Variants in memory.
        is_draining: Takes no new batches.
        device_type: Kind of device.
        memory_bytes_max: What resident variants may hold together.
    """

    worker_id: str
    address: str
    device: str
    resident: tuple[str, ...]
    is_draining: bool
    device_type: str
    memory_bytes_max: int


class Membership:
    """Keeps the lease; serving goes on without a controller."""

    def __init__(
        self,
        controller_address: str,
        standing: Callable[[], Standing],
        latencies: Latencies,
        on_assigned: Callable[[str, int, tuple[str, ...]], None],
    ) -> None:
        """Connect lazily.

        Args:
            controller_address: ``host:port``.
            standing: Returns the present state of this worker.
            latencies: What is reported.
            on_assigned: Takes the variant, the plan and the co-resident variants that the
                controller wants here.
        """
        self._standing = standing
        self._latencies = latencies
        self._on_assigned = on_assigned
        self._incarnation = uuid.uuid4().hex
        self._channel = open_channel(controller_address)
        self._stub = controller_pb2_grpc.ControllerStub(self._channel)
        self._changed = asyncio.Event()
        self._is_registered = False
        self._num_reported = 0

    def announce(self) -> None:
        """Register again now: the standing has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Register and report until cancelled."""
        backoff_s = BACKOFF_S_MIN
        last_report_s = 0.0
        while True:
            self._changed.clear()
            try:
                pause_s = await self._register() / 3
                backoff_s = BACKOFF_S_MIN
                if time.monotonic() - last_report_s >= REPORT_PERIOD_S:
                    last_report_s = time.monotonic()
                    await self._report()
            except grpc.aio.AioRpcError as error:
                self._lost(error)
                pause_s, backoff_s = backoff_s, min(2 * backoff_s, BACKOFF_S_MAX)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()

    async def leave(self) -> None:
        """End the lease now; a controller that does not answer will see it run out."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self._stub.Register(self._request(leaving=True), timeout=TIMEOUT_S)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    async def _register(self) -> float:
        response = await self._stub.Register(self._request(), timeout=TIMEOUT_S)
        if not self._is_registered:
            self._is_registered = True
            logger.info("registered; the lease is %.1f s", response.lease_s)
        if response.assigned:
            self._on_assigned(response.assigned, response.plan_id, tuple(response.coresident))
        return response.lease_s

    async def _report(self) -> None:
        num_observed = self._latencies.num_observed
        if num_observed == self._num_reported:
            return
        standing = self._standing()
        request = controller_pb2.ReportProfileRequest(
            worker_id=standing.worker_id,
            device=standing.device,
            latencies=self._latencies.samples(),
            device_type=standing.device_type,
        )
        await self._stub.ReportProfile(request, timeout=TIMEOUT_S)
        self._num_reported = num_observed

    def _request(self, *, leaving: bool = False) -> controller_pb2.RegisterRequest:
        standing = self._standing()
        return controller_pb2.RegisterRequest(
            worker_id=standing.worker_id,
            address=standing.address,
            device=standing.device,
            resident=standing.resident,
            draining=standing.is_draining,
            incarnation=self._incarnation,
            leaving=leaving,
            device_type=standing.device_type,
            memory_bytes_max=standing.memory_bytes_max,
        )

    def _lost(self, error: grpc.aio.AioRpcError) -> None:
        if self._is_registered:
            self._is_registered = False
            logger.warning("controller lost, serving on: %s", error.details())
