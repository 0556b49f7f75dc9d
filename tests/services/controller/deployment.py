"""A controller over real sockets and a real Redis, with scripted workers and load balancers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from redis.exceptions import RedisError

from diffserve.config import ControllerSettings
from diffserve.core import Plan
from diffserve.planning.planner import make_plan
from diffserve.rpc import convert
from diffserve.rpc.channel import open_channel
from diffserve.rpc.server import Health
from diffserve.rpc.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    controller_pb2,
    controller_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)
from diffserve.telemetry.records import CascadeReport, LoadBalancerReport, QueueReport
from diffserve.telemetry.store import TelemetryStore
from services.controller.application import ControllerApplication
from services.controller.control_loop import Planner
from services.controller.state import ControllerState

PERIOD_S = 0.3
LEASE_S = 1.0


async def eventually(
    check: Callable[[], Awaitable[Any]], within_s: float = 5.0, every_s: float = 0.02
) -> Any:
    """Return the first truthy result of ``check``; fails after ``within_s``."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        result = await check()
        if result:
            return result
        await asyncio.sleep(every_s)
    raise AssertionError(f"not within {within_s} s: {check}")


class Client:
    """One controller's RPCs, with a deadline on each."""

    def __init__(self, channel: grpc.aio.Channel, state: ControllerState) -> None:
        self.state = state
        self.controller = controller_pb2_grpc.ControllerStub(channel)
        self.admin = admin_pb2_grpc.AdminStub(channel)

    async def register(
        self, worker_id: str, address: str = "127.0.0.1:1", **fields: Any
    ) -> controller_pb2.RegisterResponse:
        request = controller_pb2.RegisterRequest(
            **{
                "worker_id": worker_id,
                "address": address,
                "device": "cpu",
                "resident": sorted(self.state.catalog.variants),
                "incarnation": f"{worker_id}-first",
                **fields,
            }
        )
        return await self.controller.Register(request, timeout=5)

    async def status(self) -> admin_pb2.Status:
        return await self.admin.GetStatus(admin_pb2.GetStatusRequest(), timeout=5)

    async def plan(self) -> Plan | None:
        """Return the plan in force, or None."""
        try:
            message = await self.admin.GetPlan(admin_pb2.GetPlanRequest(), timeout=5)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND
            return None
        return convert.plan_from_proto(message)

    async def plan_where(self, check: Callable[[Plan], bool], within_s: float = 5.0) -> Plan:
        """Return the first plan in force that passes ``check``."""

        async def attempt() -> Plan | None:
            plan = await self.plan()
            return plan if plan is not None and check(plan) else None

        return await eventually(attempt, within_s)

    async def next_plan(self, within_s: float = 5.0) -> Plan:
        """Return the first plan newer than the one in force now."""
        before = await self.plan()
        seen = before.plan_id if before else 0
        return await self.plan_where(lambda plan: plan.plan_id > seen, within_s)

    def watch(self) -> Any:
        return self.controller.WatchPlan(controller_pb2.WatchPlanRequest(watcher_id="test"))


def make_settings(redis_url: str, **changes: Any) -> ControllerSettings:
    values = {
        "redis_url": redis_url,
        "catalog": "mock",
        "planning_period_s": PERIOD_S,
        "solver_time_limit_s": PERIOD_S,
        "lease_s": LEASE_S,
        "solver": "enumeration",
        "grace_s": 2.0,
    }
    return ControllerSettings(**{**values, **changes})


@contextlib.asynccontextmanager
async def running_controller(
    redis_url: str, planner: Planner = make_plan, **changes: Any
) -> AsyncIterator[Client]:
    """Serve a controller on a free port; on exit drain and stop it as ``rpc.server`` does."""
    application = ControllerApplication(make_settings(redis_url, **changes), planner)
    server = grpc.aio.server()
    for endpoint in application.endpoints:
        endpoint.add(endpoint.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = open_channel(f"127.0.0.1:{port}")
    try:
        await application.start(Health(()), port)
        yield Client(channel, application.state)
    finally:
        await application.drain()
        await channel.close()
        await server.stop(1.0)
        await application.stop()


class ScriptedWorker(worker_pb2_grpc.WorkerServicer):
    """Acknowledges assignments and drains, or refuses them as told; renews its own lease."""

    def __init__(self, worker_id: str) -> None:
        self.worker_id = worker_id
        self.address = ""
        self.resident: list[str] = []
        self.assigned: list[tuple[str, int]] = []
        self.coresident: list[tuple[str, ...]] = []
        self.drains: list[bool] = []
        self.is_draining = False
        self.refuses_assignments = False
        self.load_s = 0.0
        self.hangs = asyncio.Event()
        self.hangs.set()

    async def Assign(self, request, context):
        if self.refuses_assignments:
            await context.abort(grpc.StatusCode.INTERNAL, "disk full")
        self.assigned.append((request.variant_id, request.plan_id))
        self.coresident.append(tuple(request.coresident))
        await self.hangs.wait()
        for variant_id in (request.variant_id, *request.coresident):
            if variant_id not in self.resident:
                self.resident.append(variant_id)
        return worker_pb2.AssignResponse(load_s=self.load_s, resident=self.resident)

    async def Drain(self, request, context):
        self.is_draining = not request.resume
        self.drains.append(self.is_draining)
        return worker_pb2.DrainResponse()

    async def renew_for_ever(self, client: Client) -> None:
        while True:
            await client.register(
                self.worker_id,
                self.address,
                resident=self.resident,
                draining=self.is_draining,
            )
            await asyncio.sleep(LEASE_S / 4)


@contextlib.asynccontextmanager
async def running_workers(client: Client, *worker_ids: str) -> AsyncIterator[list[ScriptedWorker]]:
    """Serve scripted workers that keep themselves registered."""
    workers, servers, renewals = [], [], []
    try:
        for worker_id in worker_ids:
            worker = ScriptedWorker(worker_id)
            server = grpc.aio.server()
            worker_pb2_grpc.add_WorkerServicer_to_server(worker, server)
            worker.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            await server.start()
            workers.append(worker)
            servers.append(server)
            renewals.append(asyncio.create_task(worker.renew_for_ever(client)))
        yield workers
    finally:
        for task in renewals:
            task.cancel()
        await asyncio.gather(*renewals, return_exceptions=True)
        for server in servers:
            await server.stop(None)


@contextlib.asynccontextmanager
async def renewed(client: Client, *worker_ids: str) -> AsyncIterator[None]:
    """Keep workers registered that have everything resident and no server behind them."""

    async def renew() -> None:
        while True:
            for worker_id in worker_ids:
                await client.register(worker_id)
            await asyncio.sleep(LEASE_S / 4)

    task = asyncio.create_task(renew())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class ScriptedLoadBalancer:
    """Reports arrivals at ``qps``, as a load balancer does; without a network of its own."""

    def __init__(self, redis_url: str, name: str = "lb-0", incarnation: str = "one") -> None:
        self.store = TelemetryStore(redis_url)
        self.name = name
        self.cascade_id = "mock"
        self.incarnation = incarnation
        self.qps = 0.0
        self.arrivals = 0.0
        self.queues: dict[str, QueueReport] = {}
        self.outcomes: dict[str, int] = {}
        self.in_progress = 0
        self.plan_id = 0

    async def report(self) -> None:
        cascade = CascadeReport(
            num_arrivals=int(self.arrivals),
            num_in_progress=self.in_progress,
            outcomes=self.outcomes,
        )
        await self.store.publish_report(
            LoadBalancerReport(
                loadbalancer_id=self.name,
                incarnation=self.incarnation,
                plan_id=self.plan_id,
                queues=self.queues,
                cascades={self.cascade_id: cascade},
            )
        )

    async def report_for_ever(self) -> None:
        last_s = time.monotonic()
        while True:
            now_s = time.monotonic()
            self.arrivals += self.qps * (now_s - last_s)
            last_s = now_s
            # Without Redis a load balancer goes on counting and reports again when it can.
            with contextlib.suppress(RedisError, OSError):
                await self.report()
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running_loadbalancer(
    redis_url: str, *, qps: float = 0.0, name: str = "lb-0", incarnation: str = "one"
) -> AsyncIterator[ScriptedLoadBalancer]:
    """Run a load balancer's reports in the background."""
    balancer = ScriptedLoadBalancer(redis_url, name, incarnation)
    balancer.qps = qps
    task = asyncio.create_task(balancer.report_for_ever())
    try:
        yield balancer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await balancer.store.close()
