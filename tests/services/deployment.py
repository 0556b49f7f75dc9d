"""One worker per variant, their discriminator and a load balancer, on sockets of this machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc

from diffserve.catalog import Catalog
from diffserve.config import LoadBalancerSettings
from diffserve.core import CascadePlan, Plan, WorkerInfo
from diffserve.rpc.server import Health
from diffserve.rpc.v1 import generation_pb2_grpc
from services.discriminator.application import DiscriminatorApplication
from services.loadbalancer.application import LoadBalancer
from tests.services.worker.harness import running_discriminator, running_worker


@dataclass
class Deployment:
    """Handles of a running deployment.

    Attributes:
        discriminator: For peeking.
        door: Address of the load balancer's gRPC.
        http: URL of its HTTP door.
    """

    discriminator: DiscriminatorApplication
    door: str
    http: str


@contextlib.asynccontextmanager
async def running_deployment(
    catalog: Catalog,
    share: float,
    *,
    cascade_ids: tuple[str, ...] = ("mock",),
    activation: str = "",
    endpoint: str = "",
    scoring: str = "service",
) -> AsyncIterator[Deployment]:
    """Serve a plan that defers ``share`` in each cascade; a worker has the name of its variant.

    On the way out everything is stopped, which sends the last spans to the OTLP ``endpoint``.
    """
    async with contextlib.AsyncExitStack() as stack:
        discriminator, address = await stack.enter_async_context(
            running_discriminator(catalog, otlp_endpoint=endpoint)
        )
        addresses = {}
        for variant_id in catalog.variants:
            worker = await stack.enter_async_context(
                running_worker(
                    catalog,
                    worker_id=variant_id,
                    preload=variant_id,
                    discriminator_address=address,
                    otlp_endpoint=endpoint,
                    scoring=scoring,
                )
            )
            addresses[variant_id] = worker.address
        settings = LoadBalancerSettings(
            controller_address="127.0.0.1:1",
            http_port=0,
            otlp_endpoint=endpoint,
            shadow_share=0.0,
        )
        application = LoadBalancer(settings, catalog)
        server = grpc.aio.server()
        generation_pb2_grpc.add_ImageGenerationServicer_to_server(application.servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        starting = asyncio.create_task(application.start(Health([]), port))
        try:
            application._follow(plan(share, addresses, cascade_ids, activation))
            async with asyncio.timeout(10):
                while application._http is None or len(
                    [w for pool in application.balancer.pools() for w in pool.members]
                ) < len(addresses):
                    await asyncio.sleep(0.01)
            http = f"http://127.0.0.1:{application._http.port}"
            yield Deployment(discriminator, f"127.0.0.1:{port}", http)
        finally:
            starting.cancel()
            await server.stop(0)
            await asyncio.gather(starting, return_exceptions=True)
            await application.stop()


def plan(
    share: float, addresses: dict[str, str], cascade_ids: tuple[str, ...], activation: str
) -> Plan:
    cascades = {
        cascade_id: CascadePlan(
            cascade_id=cascade_id,
            demand_qps=1.0,
            deferral_fraction=share,
            deferral_target=share,
            confidence_threshold=share,
            expected_quality=0.9,
            is_pinned=True,
        )
        for cascade_id in cascade_ids
    }
    return Plan(
        plan_id=5,
        placement={worker_id: worker_id for worker_id in addresses},
        batch_size_max=dict.fromkeys(addresses, 4),
        cascades=cascades,
        workers={
            worker_id: WorkerInfo(
                worker_id=worker_id, address=address, device="cpu", resident=(worker_id,)
            )
            for worker_id, address in addresses.items()
        },
        activation=activation,
    )
