"""HADIS: the best pair of models, prompts that skip the light one, re-planned every five seconds.

arXiv 2509.00642 and its public artifact (MIT licence), re-implemented from what it does, not from
its code. Time here is its compressed time, ten times as fast as reality. What shapes its results is
kept: demand from queries in flight, light capacity for all queries whatever the router does, waits
by Little's law, workers re-assigned in the order of registration, all workers on the lightest model
when nothing fits. Favours to it: plans use exact latencies, where its compressed run rounds them to
0.1 s, which overstates the light models by up to 30 %; workers that a plan does not need join the
pair, where the artifact leaves them on their old model, in the path of queries; routing follows a
plan at once, not within a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from diffserve.catalog import Catalog
from diffserve.core import CascadePlan, Plan, WorkerInfo
from diffserve.sim.baselines.hybrid_table import Fit, Load, Row, best_fit, pareto_front, table_rows
from diffserve.sim.system import Telemetry

OVER_PROVISIONING = 1.05
EWMA_SAMPLES = 20
EWMA_ALPHA = 1.0 - 0.5 ** (1.0 / 3.0)
"""Artifact: a half-life of three samples of one second, over the last 20."""
WAIT_FACTOR = 1.2
QUEUE_MIN = 1.0
"""Artifact: mean queues shorter than this are no queues."""


class HadisController:
    """Takes the best row of the table that carries the queries in flight."""

    report_period_s = 1.0
    planning_period_s = 5.0
    """Artifact: 50 s of the trace, which passes ten times as fast."""

    def __init__(self, catalog: Catalog, cascade_ids: Sequence[str], slo_s: float) -> None:
        """Start without having seen anything.

        Args:
            catalog: Its tables.
            cascade_ids: The pairs to choose from.
            slo_s: Allowed duration.
        """
        self._catalog = catalog
        self._slo_s = slo_s
        self._rows = pareto_front(table_rows(catalog, cascade_ids), catalog.latency)
        self._samples: deque[Telemetry] = deque(maxlen=EWMA_SAMPLES)
        self._arrivals: deque[Mapping[str, int]] = deque(maxlen=EWMA_SAMPLES)
        self._counted: Mapping[str, int] = {}
        self._placement: Mapping[str, str] = {}
        self._fit: Fit | None = None
        self._is_fallback = True
        self._solved_s = -self.planning_period_s
        self._now_s = 0.0

    def observe(self, telemetry: Telemetry) -> None:
        """Take in one sample per second; those of an idle system are ignored."""
        self._now_s = telemetry.reported_s
        sent = telemetry.num_sent
        if telemetry.num_in_progress:
            self._samples.append(telemetry)
            self._arrivals.append({v: n - self._counted.get(v, 0) for v, n in sent.items()})
        self._counted = sent

    def plan(self, workers: tuple[WorkerInfo, ...], plan_id: int) -> Plan:
        """Return the next plan; between its periods the last decision stands."""
        if self._fit is None or self._now_s - self._solved_s >= self.planning_period_s - 1e-6:
            self._solved_s = self._now_s
            fit = best_fit(self._rows, self._load(len(workers))) if self._samples else None
            self._is_fallback = fit is None
            self._fit = fit or self._lightest(len(workers))
        plan = self._plan_of(self._fit, workers, plan_id)
        self._placement = plan.placement
        return plan

    def _load(self, num_workers: int) -> Load:
        return Load(
            num_workers=num_workers,
            demand_qps=self._demand_qps(),
            slo_s=self._slo_s,
            latency=self._catalog.latency,
            wait_s={v: self._wait_s(v) for v in self._catalog.latency},
        )

    def _demand_qps(self) -> float:
        return OVER_PROVISIONING * ewma([s.num_in_progress for s in self._samples])

    def _wait_s(self, variant_id: str) -> float:
        """Little's law: mean queue by mean arrivals per second at a model, times a factor."""
        queue = ewma([s.queues[variant_id].length for s in self._samples])
        rate_qps = ewma([a.get(variant_id, 0) for a in self._arrivals]) / self.report_period_s
        return WAIT_FACTOR * queue / rate_qps if queue >= QUEUE_MIN and rate_qps > 0.0 else 0.0

    def _lightest(self, num_workers: int) -> Fit:
        """Return what the artifact does without a feasible plan: one model, batches of one."""
        row: Row = self._rows[0]
        return Fit(Row(row.cascade, 0.0, 0.0, row.quality), num_workers, 1, 0, 1)

    def _plan_of(self, fit: Fit, workers: tuple[WorkerInfo, ...], plan_id: int) -> Plan:
        row, cascade = fit.row, fit.row.cascade
        deferral = self._catalog.deferral[cascade.cascade_id]
        return Plan(
            plan_id=plan_id,
            placement=self._placed(fit, workers),
            batch_size_max={
                cascade.light: fit.light_batch_size,
                cascade.heavy: fit.heavy_batch_size,
            },
            cascades={
                cascade.cascade_id: CascadePlan(
                    cascade_id=cascade.cascade_id,
                    demand_qps=self._demand_qps() if self._samples else 0.0,
                    deferral_fraction=row.deferral_fraction,
                    deferral_target=row.deferral_fraction,
                    confidence_threshold=deferral.threshold_for(row.deferral_fraction),
                    expected_quality=row.quality,
                    bypass_fraction=row.bypass_fraction,
                )
            },
            workers={w.worker_id: w for w in workers},
            solver="fallback" if self._is_fallback else "enumeration",
            status="infeasible" if self._is_fallback else "optimal",
        )

    def _placed(self, fit: Fit, workers: tuple[WorkerInfo, ...]) -> dict[str, str]:
        """Walk the workers in the order of registration, whatever they run now."""
        cascade = fit.row.cascade
        pair = (cascade.light, cascade.heavy)
        missing = dict(zip(pair, (fit.light_workers, fit.heavy_workers), strict=True))
        placement = {}
        for worker in workers:
            wanted = next((v for v in pair if missing[v] > 0), None)
            if wanted is not None:
                missing[wanted] -= 1
            current = self._placement.get(worker.worker_id, "")
            placement[worker.worker_id] = wanted or (current if current in pair else cascade.heavy)
        return placement


def ewma(samples: Sequence[float]) -> float:
    """Return the exponentially weighted mean, newest last, begun at the first; 0 without any."""
    mean = float(samples[0]) if samples else 0.0
    for sample in samples:
        mean += EWMA_ALPHA * (sample - mean)
    return mean
