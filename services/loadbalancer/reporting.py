"""Writes this load balancer's telemetry to Redis at a fixed cadence, off every query's path."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid

from diffserve.activation import CatalogInForce
from diffserve.policy.balancer import Balancer
from diffserve.telemetry.records import CascadeReport, LoadBalancerReport, QueueReport
from diffserve.telemetry.store import STORE_ERRORS, TelemetryStore

logger = logging.getLogger(__name__)


class Reporter:
    """Publishes queue lengths, arrivals and outcomes."""

    def __init__(
        self,
        loadbalancer_id: str,
        catalog: CatalogInForce,
        balancer: Balancer,
        store: TelemetryStore,
    ) -> None:
        self._loadbalancer_id = loadbalancer_id
        self._incarnation = uuid.uuid4().hex
        self._catalog = catalog
        self._balancer = balancer
        self._store = store

    def report(self) -> LoadBalancerReport:
        """Return the telemetry of this moment."""
        now_s, ledger = time.monotonic(), self._balancer.ledger
        return LoadBalancerReport(
            loadbalancer_id=self._loadbalancer_id,
            incarnation=self._incarnation,
            plan_id=self._balancer.plan_id,
            queues={
                variant_id: QueueReport(
                    length=queue.length, oldest_age_s=queue.oldest_age_s, due_qps=queue.due_qps
                )
                for variant_id, queue in self._balancer.queues(now_s).items()
            },
            cascades={
                cascade_id: CascadeReport(
                    num_arrivals=ledger.num_arrivals(cascade_id),
                    num_in_progress=ledger.num_in_progress(cascade_id),
                    outcomes={
                        outcome.value: count
                        for outcome, count in ledger.outcomes(cascade_id).items()
                    },
                )
                for cascade_id in sorted(self._catalog.current.cascades)
            },
        )

    async def run(self, period_s: float) -> None:
        """Publish for ever; without Redis, serving goes on and publishing is tried again."""
        is_connected = True
        while True:
            try:
                await self._store.publish_report(self.report())
                if not is_connected:
                    logger.info("redis is back")
                is_connected = True
            except STORE_ERRORS as error:
                if is_connected:
                    logger.warning("redis: %s; serving goes on without telemetry", error)
                is_connected = False
            await asyncio.sleep(period_s)
