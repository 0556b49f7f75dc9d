"""What this load balancer counts, and what it reads from the balancer when scraped."""

from __future__ import annotations

import time
from collections.abc import Iterator

from diffserve.activation import CatalogInForce
from diffserve.core import Outcome, Plan
from diffserve.observability.instruments import Instruments, Sample
from diffserve.observability.table import STAGES
from diffserve.policy.actions import Action, Launch
from diffserve.policy.balancer import Balancer
from services.loadbalancer.live import LiveQuery
from services.loadbalancer.watching import Watcher


class LoadBalancerMetrics(Watcher):
    """Arrivals, outcomes and queues are the balancer's own, so that they cannot disagree.

    Attributes:
        instruments: Everything, for the scrape.
    """

    def __init__(self, catalog: CatalogInForce, balancer: Balancer) -> None:
        self.instruments = Instruments("loadbalancer", self._read)
        self._catalog = catalog
        self._balancer = balancer
        self._targets: dict[str, float] = {}

    def planned(self, plan: Plan, now_s: float) -> None:
        """Remember what is to be deferred."""
        self._targets = {c: planned.deferral_target for c, planned in plan.cascades.items()}

    def performed(self, action: Action, now_s: float) -> None:
        """Count batches."""
        if isinstance(action, Launch):
            batch = action.batch
            self.instruments.observe("batch_size", len(batch.query_ids), batch.variant_id)

    def light_image(self, live: LiveQuery, now_s: float) -> None:
        """Count light images, and those without a confidence."""
        cascade_id = live.cascade.cascade_id
        self.instruments.count("light_images_total", cascade_id)
        if live.light is not None and not live.light.result.HasField("confidence"):
            self.instruments.count("queries_unscored_total", cascade_id)

    def deferred(self, live: LiveQuery, now_s: float) -> None:
        """Count a deferral."""
        self.instruments.count("queries_deferred_total", live.cascade.cascade_id)

    def finished(self, live: LiveQuery, now_s: float) -> None:
        """Count how a query ended and where its time went."""
        assert live.finish is not None, live.query.query_id
        outcome, cascade_id = live.finish.outcome, live.cascade.cascade_id
        is_late = live.times.total_s > live.query.deadline_s - live.query.arrival_s
        if outcome.is_answered and not is_late:
            self.instruments.count("queries_good_total", cascade_id)
        elif outcome is not Outcome.CANCELLED:
            self.instruments.count("slo_violations_total", cascade_id)
        if not outcome.is_answered:
            return
        self.instruments.observe(
            "query_duration_seconds", live.times.total_s, cascade_id, outcome.value
        )
        for stage in STAGES:
            seconds = getattr(live.times, f"{stage}_s")
            if seconds > 0.0:
                self.instruments.observe("stage_duration_seconds", seconds, cascade_id, stage)

    def _read(self) -> Iterator[Sample]:
        balancer = self._balancer
        for cascade_id in self._catalog.current.cascades:
            yield "queries_arrived_total", (cascade_id,), balancer.ledger.num_arrivals(cascade_id)
            for outcome, count in balancer.ledger.outcomes(cascade_id).items():
                yield "queries_finished_total", (cascade_id, outcome.value), count
            in_progress = balancer.ledger.num_in_progress(cascade_id)
            yield "queries_in_progress", (cascade_id,), in_progress
            target = self._targets.get(cascade_id, 0.0)
            yield "deferral_target_ratio", (cascade_id,), target
        for variant_id, queue in balancer.queues(time.monotonic()).items():
            yield "queries_waiting", (variant_id,), queue.length
            yield "queue_oldest_age_seconds", (variant_id,), queue.oldest_age_s
            yield "queue_due_qps", (variant_id,), queue.due_qps
        yield "plan_id", (), balancer.plan_id
