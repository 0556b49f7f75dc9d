"""The Controller service: registration, plan watches, measured profiles."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import grpc

from diffserve.core import WorkerInfo
from diffserve.errors import InputError
from diffserve.rpc.status import streaming, unary
from diffserve.rpc.v1 import controller_pb2, controller_pb2_grpc
from services.controller.latencies import Measurement, device_kind
from services.controller.state import ControllerState

Context = grpc.aio.ServicerContext[Any, Any]


class ControllerServicer(controller_pb2_grpc.ControllerServicer):
    """Answers from memory only; nothing here waits for Redis or for a solver."""

    def __init__(self, state: ControllerState) -> None:
        self._state = state

    @unary
    async def Register(
        self, request: controller_pb2.RegisterRequest, context: Context
    ) -> controller_pb2.RegisterResponse:
        """Register a worker, renew its lease, or end it."""
        _require("worker_id", request.worker_id)
        membership = self._state.membership
        if request.leaving:
            membership.leave(request.worker_id, request.incarnation)
        else:
            _require("address", request.address)
            _require("device", request.device)
            worker = WorkerInfo(
                worker_id=request.worker_id,
                address=request.address,
                device=request.device,
                resident=tuple(request.resident),
                is_draining=request.draining,
                device_type=request.device_type,
                memory_bytes_max=request.memory_bytes_max,
            )
            membership.renew(worker, request.incarnation)
        plan = self._state.board.in_force
        return controller_pb2.RegisterResponse(
            lease_s=membership.lease_s,
            assigned=plan.placement.get(request.worker_id, "") if plan else "",
            plan_id=plan.plan_id if plan else 0,
            coresident=plan.coresident.get(request.worker_id, ()) if plan else (),
        )

    @streaming
    async def WatchPlan(
        self, request: controller_pb2.WatchPlanRequest, context: Context
    ) -> AsyncIterator[controller_pb2.Plan]:
        """Send the plan in force, then each new one."""
        watchers, call = self._state.watchers, object()
        if request.address:
            watchers[call] = request.watcher_id, request.address
        # Not a `finally`: a generator that is cancelled while it waits may end late. The stub types
        # its argument as a class where grpc takes any callable.
        context.add_done_callback(lambda _: watchers.pop(call, None))  # type: ignore[arg-type]
        async for message in self._state.board.watch():
            yield message

    @unary
    async def ReportProfile(
        self, request: controller_pb2.ReportProfileRequest, context: Context
    ) -> controller_pb2.ReportProfileResponse:
        """Take in measured latencies; the next plan uses them."""
        _require("worker_id", request.worker_id)
        _require("device", request.device)
        measurements = []
        for index, sample in enumerate(request.latencies):
            where = f"latencies[{index}]"
            if sample.batch_size < 1:
                raise InputError(f"{where}.batch_size", "must be at least 1")
            if not (math.isfinite(sample.execution_s_p50) and sample.execution_s_p50 > 0.0):
                raise InputError(f"{where}.execution_s_p50", "must be above 0")
            measurements.append(
                Measurement(
                    variant_id=sample.variant_id,
                    batch_size=sample.batch_size,
                    execution_s=sample.execution_s_p50,
                    num_executions=sample.num_executions,
                )
            )
        kind = device_kind(request.device, request.device_type)
        self._state.latencies.report(request.worker_id, kind, measurements)
        return controller_pb2.ReportProfileResponse()


def _require(field: str, value: str) -> None:
    if not value:
        raise InputError(field, "must not be empty")
