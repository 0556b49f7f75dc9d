"""A load balancer over real sockets with scripted workers and a scripted controller."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from diffserve.catalog import Catalog, load_catalog
from diffserve.config import LoadBalancerSettings
from diffserve.core import CascadePlan, Plan, WorkerInfo
from diffserve.errors import WORKER_BUSY, ConfigError, DiffServeError, InputError, OverloadedError
from diffserve.rpc import convert
from diffserve.rpc.channel import open_channel
from diffserve.rpc.server import Health
from diffserve.rpc.status import to_bytes
from diffserve.rpc.streams import Outbox, answer_many
from diffserve.rpc.v1 import (
    common_pb2,
    controller_pb2,
    controller_pb2_grpc,
    generation_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)
from services.loadbalancer.application import LoadBalancer

Context = grpc.aio.ServicerContext[Any, Any]


class ScriptedWorker(worker_pb2_grpc.WorkerServicer):
    """Sleeps for each batch; a prompt's last word is the percentile of its light image.

    With a ``gate`` each batch ends when the test lets it, instead.
    """

    def __init__(self) -> None:
        self.light_s = 0.02
        self.heavy_s = 0.1
        self.gate: asyncio.Semaphore | None = None
        self.refuses = False
        self.drains = False
        self.finds_wrong = ""
        self.busy_s = 0.0
        self.num_busy = 0
        self.num_steps = 0
        self.num_image_bytes = 0
        self.was_asked_for_steps: list[bool] = []
        self.executed: list[tuple[str, tuple[str, ...]]] = []
        self.parameters: list[common_pb2.GenerationParameters] = []
        self.light: list[common_pb2.LightScore] = []
        self.aborted: set[str] = set()

    async def ExecuteMany(
        self, request_iterator: AsyncIterator[worker_pb2.ExecuteRequest], context: Context
    ) -> None:
        await answer_many(context, self._answer)

    async def _answer(
        self, request: worker_pb2.ExecuteRequest, outbox: Outbox[worker_pb2.ExecuteEvent]
    ) -> None:
        ended = worker_pb2.BatchEnded()
        try:
            async for event in self._execute(request):
                event.batch_id = request.batch_id
                outbox.send(event)
        except DiffServeError as error:
            ended.status = to_bytes(error)
        outbox.send(worker_pb2.ExecuteEvent(batch_id=request.batch_id, ended=ended))

    async def _execute(
        self, request: worker_pb2.ExecuteRequest
    ) -> AsyncIterator[worker_pb2.ExecuteEvent]:
        if self.refuses:
            raise ConfigError("not resident")
        if self.finds_wrong and any(
            self.finds_wrong in query.parameters.prompt for query in request.queries
        ):
            raise InputError("queries.0.parameters.prompt", "is wrong")
        if self.busy_s > 0.0:
            self.num_busy += 1
            raise OverloadedError(
                "busy", predicted_wait_s=0.0, retry_after_s=self.busy_s, cause=WORKER_BUSY
            )
        self.executed.append((request.variant_id, tuple(q.query_id for q in request.queries)))
        self.parameters += [query.parameters for query in request.queries]
        self.light += [query.light for query in request.queries if query.HasField("light")]
        self.was_asked_for_steps.append(request.reports_progress)
        yield worker_pb2.ExecuteEvent(started=worker_pb2.ExecutionStarted())
        for step in range(1, self.num_steps + 1):
            progress = worker_pb2.StepProgress(step=step, num_steps=self.num_steps)
            yield worker_pb2.ExecuteEvent(progress=progress)
        is_light = request.variant_id == "mock-light"
        seconds = self.light_s if is_light else self.heavy_s
        await (asyncio.sleep(seconds) if self.gate is None else self.gate.acquire())
        yield worker_pb2.ExecuteEvent(released=worker_pb2.DeviceReleased(execution_s=seconds))
        for query in request.queries:
            yield worker_pb2.ExecuteEvent(result=self._result(query, is_light=is_light))

    async def Describe(
        self, request: worker_pb2.DescribeRequest, context: Context
    ) -> worker_pb2.DescribeResponse:
        return worker_pb2.DescribeResponse(draining=self.drains)

    async def Abort(
        self, request: worker_pb2.AbortRequest, context: Context
    ) -> worker_pb2.AbortResponse:
        self.aborted.update(request.query_ids)
        return worker_pb2.AbortResponse(num_aborted=len(request.query_ids))

    def _result(self, query: worker_pb2.BatchQuery, *, is_light: bool) -> worker_pb2.QueryResult:
        prompt = query.parameters.prompt
        if "fails" in prompt:
            return worker_pb2.QueryResult(query_id=query.query_id, error="out of memory")
        kind = b"light:" if is_light else b"heavy:"
        result = worker_pb2.QueryResult(
            query_id=query.query_id,
            image=common_pb2.Image(
                data=kind + prompt.encode() + bytes(self.num_image_bytes), media_type="image/png"
            ),
        )
        if is_light:
            result.confidence = result.percentile = float(prompt.split()[-1])
        return result


class ScriptedController(controller_pb2_grpc.ControllerServicer):
    """Sends the plans it is given."""

    def __init__(self) -> None:
        self.plans: asyncio.Queue[Plan] = asyncio.Queue()

    async def WatchPlan(
        self, request: controller_pb2.WatchPlanRequest, context: Context
    ) -> AsyncIterator[controller_pb2.Plan]:
        while True:
            yield convert.plan_to_proto(await self.plans.get())


@dataclass
class Cluster:
    """Handles of a running cluster."""

    stub: generation_pb2_grpc.ImageGenerationAsyncStub
    application: LoadBalancer
    controller: ScriptedController
    catalog: Catalog
    port: int
    workers: dict[str, ScriptedWorker] = field(default_factory=dict)
    servers: dict[str, grpc.aio.Server] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    health: dict[str, health.aio.HealthServicer] = field(default_factory=dict)

    async def start_worker(self, worker_id: str, address: str = "127.0.0.1:0") -> None:
        server = grpc.aio.server()
        worker = self.workers.setdefault(worker_id, ScriptedWorker())
        worker_pb2_grpc.add_WorkerServicer_to_server(worker, server)
        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        self.health[worker_id] = servicer
        port = server.add_insecure_port(address)
        await server.start()
        self.servers[worker_id] = server
        self.addresses[worker_id] = f"127.0.0.1:{port}"

    async def report(self, worker_id: str, *, serving: bool) -> None:
        """Set the health that a worker reports."""
        known = health_pb2.HealthCheckResponse
        status = known.SERVING if serving else known.NOT_SERVING
        await self.health[worker_id].set("", status)

    async def kill_worker(self, worker_id: str) -> None:
        await self.servers.pop(worker_id).stop(0)

    def old_plan(self, plan_id: int) -> Plan:
        """Return a plan that places nobody."""
        return Plan(plan_id=plan_id, placement={}, batch_size_max={}, cascades={})

    async def plan(
        self,
        placement: dict[str, str],
        *,
        fraction: float = 0.5,
        plan_id: int = 1,
        slo_s: float = 0.0,
    ) -> None:
        """Send a plan and wait until the load balancer follows it."""
        infos = {
            worker_id: WorkerInfo(
                worker_id=worker_id,
                address=self.addresses[worker_id],
                device="cpu",
                resident=("mock-light", "mock-heavy"),
            )
            for worker_id in placement
        }
        share = CascadePlan(
            cascade_id="mock",
            demand_qps=1.0,
            deferral_fraction=fraction,
            deferral_target=fraction,
            confidence_threshold=fraction,
            expected_quality=0.9,
            slo_s=slo_s,
        )
        plan = Plan(
            plan_id=plan_id,
            placement=placement,
            batch_size_max={"mock-light": 4, "mock-heavy": 2},
            cascades={"mock": share},
            workers=infos,
        )
        self.controller.plans.put_nowait(plan)
        while self.application.balancer.plan_id != plan_id:
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running_cluster(num_workers: int = 2, **options: Any) -> AsyncIterator[Cluster]:
    """Start a load balancer with ``w1`` light and the others heavy."""
    catalog = load_catalog("mock")
    controller = ScriptedController()
    controller_server = grpc.aio.server()
    controller_pb2_grpc.add_ControllerServicer_to_server(controller, controller_server)
    controller_port = controller_server.add_insecure_port("127.0.0.1:0")
    await controller_server.start()
    settings = LoadBalancerSettings(
        controller_address=f"127.0.0.1:{controller_port}", **{"http_port": 0, **options}
    )
    application = LoadBalancer(settings, catalog)
    server = grpc.aio.server()
    generation_pb2_grpc.add_ImageGenerationServicer_to_server(application.servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    starting = asyncio.create_task(application.start(Health([]), port))
    channel = open_channel(f"127.0.0.1:{port}")
    stub = generation_pb2_grpc.ImageGenerationStub(channel)
    cluster = Cluster(stub, application, controller, catalog, port)
    try:
        for index in range(1, num_workers + 1):
            await cluster.start_worker(f"w{index}")
        placement = {w: "mock-light" if w == "w1" else "mock-heavy" for w in cluster.workers}
        await cluster.plan(placement)
        await asyncio.wait_for(starting, 5)
        yield cluster
    finally:
        await channel.close()
        await server.stop(0)
        await application.stop()
        for worker_server in cluster.servers.values():
            await worker_server.stop(0)
        await controller_server.stop(0)
