"""The Admin service: what operators see and may change."""

from __future__ import annotations

from typing import Any

import grpc

from diffserve.errors import InputError
from diffserve.rpc import convert
from diffserve.rpc.status import unary
from diffserve.rpc.v1 import admin_pb2, admin_pb2_grpc, controller_pb2, worker_pb2
from diffserve.telemetry.store import STORE_ERRORS
from services.controller import orders, report
from services.controller.membership import Member
from services.controller.plans import message_from_document
from services.controller.queries import find_query
from services.controller.state import ControllerState
from services.controller.what_if import Hypothesis, WhatIf

Context = grpc.aio.ServicerContext[Any, Any]


class AdminServicer(admin_pb2_grpc.AdminServicer):
    """Reads the controller's state; changes the pause switch, drains and overrides."""

    def __init__(self, state: ControllerState) -> None:
        self._state = state
        self._what_if = WhatIf(state)

    @unary
    async def GetStatus(
        self, request: admin_pb2.GetStatusRequest, context: Context
    ) -> admin_pb2.Status:
        """Return the deployment on one page, telemetry read for this call."""
        await self._read_reports()
        return report.status(self._state)

    @unary
    async def GetPlan(
        self, request: admin_pb2.GetPlanRequest, context: Context
    ) -> controller_pb2.Plan:
        """Return the plan in force, or a past one from Redis."""
        in_force = self._state.board.message()
        if request.plan_id == 0 and in_force is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no plan yet")
        if in_force is not None and request.plan_id in (0, in_force.plan_id):
            return in_force
        remembered = self._state.history.plan(request.plan_id)
        if remembered is not None:
            return convert.plan_to_proto(*remembered)
        try:
            document = await self._state.store.load_plan(request.plan_id)
            age_s = await self._state.store.plan_age_s(request.plan_id)
        except STORE_ERRORS:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "past plans are in Redis, which does not answer"
            )
        if document is None:
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"plan {request.plan_id} was never in force or is no longer remembered",
            )
        message = message_from_document(document)
        message.age_s = age_s
        return message

    @unary
    async def ListWorkers(
        self, request: admin_pb2.ListWorkersRequest, context: Context
    ) -> admin_pb2.ListWorkersResponse:
        """Return the registered workers."""
        return admin_pb2.ListWorkersResponse(workers=report.workers(self._state))

    @unary
    async def ListCascades(
        self, request: admin_pb2.ListCascadesRequest, context: Context
    ) -> admin_pb2.ListCascadesResponse:
        """Return the cascades of the catalog, with latencies as planned with now."""
        return admin_pb2.ListCascadesResponse(cascades=report.cascades(self._state))

    @unary
    async def SetPlanning(
        self, request: admin_pb2.SetPlanningRequest, context: Context
    ) -> admin_pb2.SetPlanningResponse:
        """Pause or resume re-planning; also survives a restart of the controller."""
        self._state.is_paused, self._state.is_pause_ordered = request.paused, True
        # Wakes the loop: a resumed one plans now, and either is mirrored to Redis at once.
        self._state.membership.changed.set()
        return admin_pb2.SetPlanningResponse(paused=self._state.is_paused)

    @unary
    async def DrainWorker(
        self, request: admin_pb2.DrainWorkerRequest, context: Context
    ) -> admin_pb2.DrainWorkerResponse:
        """Take a worker out of the plan and drain it, or the reverse, in an order that is safe.

        Out: the plan lets go of it first, so no load balancer meets a refusing worker for long.
        In: the worker accepts work before a plan counts on it.
        """
        membership = self._state.membership
        member = orders.registered(self._state, request.worker_id)
        if not request.resume:
            membership.set_drained(request.worker_id, drained=True)
        try:
            await self._tell_worker(member, resume=request.resume)
        except grpc.aio.AioRpcError as error:
            outcome = "stays" if request.resume else "is"
            await context.abort(
                grpc.StatusCode.UNAVAILABLE,
                f"worker {request.worker_id} at {member.reported.address} did not answer "
                f"({error.code().name}: {error.details()}); it {outcome} out of the plan",
            )
        if request.resume:
            membership.set_drained(request.worker_id, drained=False)
        return admin_pb2.DrainWorkerResponse(
            worker=report.worker(self._state, membership.get(request.worker_id) or member)
        )

    @unary
    async def ListPlans(
        self, request: admin_pb2.ListPlansRequest, context: Context
    ) -> admin_pb2.ListPlansResponse:
        """Return the newest decisions."""
        if request.limit < 0:
            raise InputError("limit", f"must be 0 or more, not {request.limit}")
        return report.plans(self._state, request.limit)

    @unary
    async def SetSlo(
        self, request: admin_pb2.SetSloRequest, context: Context
    ) -> admin_pb2.SetSloResponse:
        """Set the SLO of a cascade and those of its class."""
        await self._read_reports()
        return orders.set_slo(self._state, request)

    @unary
    async def PinThreshold(
        self, request: admin_pb2.PinThresholdRequest, context: Context
    ) -> admin_pb2.PinThresholdResponse:
        """Fix the share that a cascade defers, or unpin it."""
        await self._read_reports()
        return orders.pin_threshold(self._state, request)

    @unary
    async def ActivateCascades(
        self, request: admin_pb2.ActivateCascadesRequest, context: Context
    ) -> admin_pb2.ActivateCascadesResponse:
        """Serve the cascades of another catalog too, one of them by default."""
        await self._read_reports()
        return orders.activate_cascades(self._state, request)

    @unary
    async def RestartWorker(
        self, request: admin_pb2.RestartWorkerRequest, context: Context
    ) -> admin_pb2.RestartWorkerResponse:
        """Drain a worker and have its process end."""
        return await orders.restart_worker(self._state, request)

    @unary
    async def WhatIf(
        self, request: admin_pb2.WhatIfRequest, context: Context
    ) -> admin_pb2.WhatIfResponse:
        """Return what would be planned; nothing changes."""
        hypothesis = Hypothesis(
            cascade_id=request.cascade_id,
            qps=request.qps if request.HasField("qps") else None,
            num_workers=request.num_workers if request.HasField("num_workers") else None,
        )
        answer = await self._what_if.ask(hypothesis)
        return admin_pb2.WhatIfResponse(
            plan=convert.plan_to_proto(answer.plan), qps=answer.qps, num_workers=answer.num_workers
        )

    @unary
    async def FindQuery(
        self, request: admin_pb2.FindQueryRequest, context: Context
    ) -> admin_pb2.FindQueryResponse:
        """Return the story of a query, from the load balancer that knows it."""
        if not request.query_id:
            raise InputError("query_id", "must not be empty")
        return await find_query(request.query_id, tuple(self._state.watchers.values()))

    async def _read_reports(self) -> None:
        """Read telemetry for this call, which also finds out whether Redis answers."""
        observer = self._state.observer
        if observer.is_connected:
            # Known to be gone, Redis is left to the control loop: no operator waits for a timeout.
            try:
                observer.take_in(await self._state.store.read_reports())
            except STORE_ERRORS as error:
                observer.lose_connection(error)

    async def _tell_worker(self, member: Member, *, resume: bool) -> None:
        """Call Drain; batches that outlast the deadline are no failure, they finish by themselves.

        Raises:
            AioRpcError: the worker refused or was not reached.
        """
        stub = self._state.clients.stub(member.reported.address)
        request = worker_pb2.DrainRequest(resume=resume)
        try:
            await stub.Drain(request, timeout=self._state.settings.grace_s)
        except grpc.aio.AioRpcError as error:
            if resume or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
