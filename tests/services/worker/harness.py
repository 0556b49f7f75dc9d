"""A worker on a loopback socket, with what surrounds it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from diffserve.catalog import Catalog, load_catalog
from diffserve.config import DiscriminatorSettings, WorkerSettings
from diffserve.core import Variant
from diffserve.profiles.latency import LatencyProfile
from diffserve.rpc.channel import open_channel
from diffserve.rpc.server import NOT_SERVING, SERVING, Health
from diffserve.rpc.v1 import (
    common_pb2,
    controller_pb2,
    controller_pb2_grpc,
    discriminator_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)
from services.discriminator.application import DiscriminatorApplication
from services.worker.application import WorkerApplication
from services.worker.servicer import WorkerServicer

NOWHERE = "127.0.0.1:1"
"""Nobody listens there."""


@dataclasses.dataclass
class RunningWorker:
    """A served worker, its application for peeking, and a client's stubs."""

    application: WorkerApplication
    address: str
    stub: worker_pb2_grpc.WorkerStub
    health: health_pb2_grpc.HealthStub

    async def has_accepted(self, count: int) -> None:
        """Return once ``count`` batches are running or staged, and the first has begun."""
        batches = self.application.executor._on_device
        async with asyncio.timeout(5.0):
            while len(batches) != count or batches[0].started_s is None:
                await asyncio.sleep(0.005)

    async def is_serving(self) -> bool:
        response = await self.health.Check(health_pb2.HealthCheckRequest())
        assert response.status in (SERVING, NOT_SERVING)
        return bool(response.status == SERVING)


class FakeController(controller_pb2_grpc.ControllerServicer):
    """Remembers what workers say; hands out one assignment."""

    def __init__(self) -> None:
        self.registrations: list[controller_pb2.RegisterRequest] = []
        self.reports: list[controller_pb2.ReportProfileRequest] = []
        self.assigned = ""
        self.plan_id = 0
        self.coresident: tuple[str, ...] = ()

    async def Register(self, request: Any, context: Any) -> controller_pb2.RegisterResponse:
        self.registrations.append(request)
        return controller_pb2.RegisterResponse(
            lease_s=0.3,
            assigned=self.assigned,
            plan_id=self.plan_id,
            coresident=self.coresident,
        )

    async def ReportProfile(
        self, request: Any, context: Any
    ) -> controller_pb2.ReportProfileResponse:
        self.reports.append(request)
        return controller_pb2.ReportProfileResponse()

    def WatchPlan(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


def mock_catalog(
    latency_s: dict[str, float], memory_bytes: int = 0, **changes: dict[str, Any]
) -> Catalog:
    """Return the mock catalog with one mock variant per entry; batches take 10 % more each."""
    catalog = load_catalog("mock")
    model = catalog.variants["mock-light"]
    variants = {
        name: dataclasses.replace(
            model,
            variant_id=name,
            **{"base": name, "memory_bytes": memory_bytes, **changes.get(name, {})},
        )
        for name in latency_s
    }
    return with_variants(variants.values(), latency_s)


def with_variants(variants: Iterable[Variant], latency_s: dict[str, float]) -> Catalog:
    """Return the mock catalog with other variants."""
    catalog = load_catalog("mock")
    profiles = {
        name: LatencyProfile({1: seconds, 2: 1.1 * seconds, 4: 1.3 * seconds, 8: 1.7 * seconds})
        for name, seconds in latency_s.items()
    }
    return dataclasses.replace(
        catalog,
        variants={**catalog.variants, **{v.variant_id: v for v in variants}},
        latency={**catalog.latency, **profiles},
    )


@asynccontextmanager
async def listening(port: int = 0) -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    server = grpc.aio.server()
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    try:
        yield server, bound
    finally:
        await server.stop(0)


@asynccontextmanager
async def running_worker(catalog: Catalog, **settings: Any) -> AsyncIterator[RunningWorker]:
    """Serve a worker; nobody else is there unless ``settings`` name an address."""
    merged = WorkerSettings(
        **{
            "port": 0,
            "controller_address": NOWHERE,
            "discriminator_address": NOWHERE,
            "preload": ",".join(name for name in catalog.variants if name.startswith("v")),
            **settings,
        }
    )
    application = WorkerApplication(merged, catalog, num_threads=1)
    health = Health([])
    async with AsyncExitStack() as stack:
        server, port = await stack.enter_async_context(listening(merged.port))
        worker_pb2_grpc.add_WorkerServicer_to_server(WorkerServicer(application), server)
        health_pb2_grpc.add_HealthServicer_to_server(health.servicer, server)
        await server.start()
        stack.push_async_callback(application.stop)
        await health.set(serving=False)
        await application.start(health, port)
        await health.set(serving=True)
        channel = await stack.enter_async_context(open_channel(f"127.0.0.1:{port}"))
        yield RunningWorker(
            application,
            f"127.0.0.1:{port}",
            worker_pb2_grpc.WorkerStub(channel),
            health_pb2_grpc.HealthStub(channel),
        )


@asynccontextmanager
async def running_discriminator(
    catalog: Catalog, port: int = 0, **settings: Any
) -> AsyncIterator[tuple[DiscriminatorApplication, str]]:
    """Serve a discriminator; yield its application and address."""
    application = DiscriminatorApplication(DiscriminatorSettings(**settings), catalog)
    async with listening(port) as (server, bound):
        discriminator_pb2_grpc.add_DiscriminatorServicer_to_server(application.servicer, server)
        await server.start()
        await application.start(Health([]), bound)
        yield application, f"127.0.0.1:{bound}"
        await application.stop()


def request(
    variant_id: str, *query_ids: str, discriminator: str = "", **parameters: Any
) -> worker_pb2.ExecuteRequest:
    """Return a batch; each query's prompt is its id."""
    return worker_pb2.ExecuteRequest(
        batch_id=1,
        variant_id=variant_id,
        discriminator=discriminator,
        queries=[
            worker_pb2.BatchQuery(
                query_id=query_id,
                budget_s=5.0,
                parameters=common_pb2.GenerationParameters(
                    **{"prompt": query_id, "seed": 1, **parameters}
                ),
            )
            for query_id in query_ids
        ],
    )


@dataclasses.dataclass
class Answer:
    """The events of one Execute call."""

    kinds: list[str]
    results: dict[str, worker_pb2.QueryResult]
    staged_s: float
    execution_s: float


async def collect(call: AsyncIterator[worker_pb2.ExecuteEvent]) -> Answer:
    answer = Answer([], {}, 0.0, 0.0)
    async for message in call:
        for event in (message, *message.also):
            add(answer, event)
    return answer


def add(answer: Answer, event: worker_pb2.ExecuteEvent) -> None:
    kind = event.WhichOneof("event")
    assert kind is not None
    answer.kinds.append(kind)
    if kind == "started":
        answer.staged_s = event.started.staged_s
    elif kind == "released":
        answer.execution_s = event.released.execution_s
    else:
        assert event.result.query_id not in answer.results
        answer.results[event.result.query_id] = event.result
