"""Wires the load balancer together and gives it a life cycle."""

from __future__ import annotations

import asyncio
import logging

from diffserve.catalog import Catalog
from diffserve.config import LoadBalancerSettings
from diffserve.policy.balancer import Balancer, BalancerParameters
from diffserve.rpc.server import Health
from diffserve.telemetry.store import TelemetryStore
from services.loadbalancer.dispatcher import Dispatcher
from services.loadbalancer.door import Door
from services.loadbalancer.http.app import make_app
from services.loadbalancer.http.server import HttpServer
from services.loadbalancer.http.status import ControllerStatus
from services.loadbalancer.plans import PlanFollower
from services.loadbalancer.reporting import Reporter
from services.loadbalancer.servicer import ImageGenerationServicer
from services.loadbalancer.workers import WorkerClients

logger = logging.getLogger(__name__)


class LoadBalancer:
    """The application behind ``services/loadbalancer``."""

    def __init__(self, settings: LoadBalancerSettings, catalog: Catalog) -> None:
        self._settings = settings
        in_use = {v for c in catalog.cascades.values() for v in (c.light, c.heavy)}
        self.balancer = Balancer(
            catalog.cascades,
            {variant_id: catalog.latency[variant_id] for variant_id in sorted(in_use)},
            BalancerParameters(
                queue_length_max=settings.queue_length_max,
                answer_margin_s=settings.answer_margin_s,
                shadow_share=settings.shadow_share,
            ),
            quality=catalog.quality,
            classes=catalog.classes,
            devices=catalog.latency_by_device,
        )
        self._workers = WorkerClients(settings.message_bytes_max)
        self.dispatcher = Dispatcher(self.balancer, self._workers, settings.num_records_max)
        self._workers.on_found = self.dispatcher.worker_found
        self._workers.on_lost = self.dispatcher.worker_lost
        self.door = Door(catalog, self.dispatcher)
        self.servicer = ImageGenerationServicer(self.door)
        self._status = ControllerStatus(settings.controller_address)
        self._http: HttpServer | None = None
        self._catalog = catalog
        self._store: TelemetryStore | None = None
        self._plans: PlanFollower | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, health: Health, port: int) -> None:
        """Follow plans and publish telemetry; ready with the first plan that places a worker."""
        settings = self._settings
        app = make_app(self.door, self._catalog, lambda: health.is_serving, self._status)
        self._http = HttpServer(app, settings.host, settings.http_port)
        await self._http.start()
        logger.info("HTTP on %s:%d", settings.host, self._http.port)
        if settings.redis_url:
            self._store = TelemetryStore(settings.redis_url)
            reporter = Reporter(settings.loadbalancer_id, self._catalog, self.balancer, self._store)
            self._tasks.append(asyncio.create_task(reporter.run(settings.telemetry_period_s)))
        self._plans = PlanFollower(
            settings.controller_address,
            settings.loadbalancer_id,
            self._store,
            self.dispatcher.apply_plan,
        )
        self._tasks.append(asyncio.create_task(self._plans.run()))
        await self._plans.has_plan.wait()

    async def drain(self) -> None:
        """Refuse new queries, finish the accepted ones."""
        await self.dispatcher.drain()

    async def stop(self) -> None:
        """Close everything."""
        if self._http is not None:
            await self._http.stop()
        await self._status.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.dispatcher.close()
        await self._workers.close()
        if self._plans is not None:
            await self._plans.close()
        if self._store is not None:
            await self._store.close()
