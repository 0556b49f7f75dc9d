"""Wires the load balancer together and gives it a life cycle."""

from __future__ import annotations

import asyncio
import logging
import socket
import time

from diffserve.activation import CatalogInForce
from diffserve.catalog import Catalog
from diffserve.config import LoadBalancerSettings
from diffserve.core import Plan
from diffserve.observability.tracing import open_tracing
from diffserve.policy.balancer import Balancer
from diffserve.policy.parameters import BalancerParameters
from diffserve.rpc.server import Health
from diffserve.telemetry.store import TelemetryStore
from services.loadbalancer.deciding import DecisionLogWatcher
from services.loadbalancer.dispatcher import Dispatcher
from services.loadbalancer.door import Door
from services.loadbalancer.http.app import TraceParent, add_metrics, make_app
from services.loadbalancer.http.server import HttpServer
from services.loadbalancer.http.status import ControllerStatus
from services.loadbalancer.idempotency import Answers
from services.loadbalancer.metrics import LoadBalancerMetrics
from services.loadbalancer.plans import PlanFollower
from services.loadbalancer.reporting import Reporter
from services.loadbalancer.servicer import ImageGenerationServicer
from services.loadbalancer.tenants import load_tenants
from services.loadbalancer.tracing import TraceWatcher
from services.loadbalancer.workers import WorkerClients

logger = logging.getLogger(__name__)

EVERYWHERE = frozenset({"0.0.0.0", "[::]", "::"})


class LoadBalancer:
    """The application behind ``services/loadbalancer``."""

    def __init__(self, settings: LoadBalancerSettings, catalog: Catalog) -> None:
        self._settings = settings
        self.balancer = Balancer(
            catalog.cascades,
            catalog.latency,
            BalancerParameters(
                queue_length_max=settings.queue_length_max,
                answer_margin_s=settings.answer_margin_s,
                shadow_share=settings.shadow_share,
            ),
            quality=catalog.quality,
            classes=catalog.classes,
            devices=catalog.latency_by_device,
            tenants=load_tenants(settings.tenants),
            loadbalancer_id=settings.loadbalancer_id,
        )
        self._workers = WorkerClients(settings.message_bytes_max, settings.loadbalancer_id)
        answers = Answers(settings.answers_bytes_max, settings.answers_lifetime_s)
        self.dispatcher = Dispatcher(
            self.balancer, self._workers, settings.num_records_max, answers
        )
        self._catalog = CatalogInForce(catalog)
        self.metrics = LoadBalancerMetrics(self._catalog, self.balancer)
        self.dispatcher.watchers.append(self.metrics)
        self._tracing = open_tracing(
            "loadbalancer", settings.otlp_endpoint, settings.loadbalancer_id
        )
        if self._tracing is not None:
            self.dispatcher.tracing = TraceWatcher(self._tracing)
            self.dispatcher.watchers.append(self.dispatcher.tracing)
        self._decisions: DecisionLogWatcher | None = None
        if settings.decision_log:
            self._decisions = DecisionLogWatcher(
                settings.decision_log, catalog.default_cascade, time.monotonic()
            )
            self.dispatcher.watchers.append(self._decisions)
        self._workers.on_found = self.dispatcher.worker_found
        self._workers.on_lost = self.dispatcher.worker_lost
        self.door = Door(self._catalog, self.dispatcher)
        is_traced = self._tracing is not None
        self.servicer = ImageGenerationServicer(self.door, is_traced=is_traced)
        self._status = ControllerStatus(settings.controller_address)
        self._http: HttpServer | None = None
        self._store: TelemetryStore | None = None
        self._plans: PlanFollower | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, health: Health, port: int) -> None:
        """Follow plans and publish telemetry; ready with the first plan that places a worker."""
        settings = self._settings
        app = make_app(
            self.door,
            self._catalog,
            lambda: health.is_serving and any(pool.members for pool in self.balancer.pools()),
            self._status,
        )
        if self._tracing is not None:
            app.add_middleware(TraceParent)
        add_metrics(app, self.metrics.instruments.exposition)
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
            self._follow,
            f"{_reachable(settings.host)}:{port}",
        )
        self._tasks.append(asyncio.create_task(self._plans.run()))
        await self._plans.has_plan.wait()

    def _follow(self, plan: Plan) -> None:
        """Follow a newer plan; first the cascades that it brings, so that none is unknown."""
        if plan.plan_id <= self.balancer.plan_id:
            return
        if self._catalog.follow(plan.activation, plan.plan_id):
            catalog = self._catalog.current
            self.balancer.add_cascades(catalog.cascades, catalog.quality, catalog.classes)
        self.dispatcher.apply_plan(plan)

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
        await self._workers.close()
        await self.dispatcher.close()
        if self._decisions is not None:
            self._decisions.close()
        if self._tracing is not None:
            await self._tracing.close()
        if self._plans is not None:
            await self._plans.close()
        if self._store is not None:
            await self._store.close()


def _reachable(host: str) -> str:
    """Return how others reach this host: listening on every interface says nothing about that."""
    return socket.gethostname() if host in EVERYWHERE else host
