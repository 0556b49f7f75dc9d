"""Proteus: re-plans variants and shares for accuracy, and routes without looking at the query.

Proteus (ASPLOS'24) as the DiffServe paper (§5) compares with it; its code is not in the artifact.
Demand is counted arrivals with an EWMA, times 1.25 as in a later port. Each query runs on exactly
one variant, chosen at random in the planned proportion.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from diffserve.catalog import Catalog
from diffserve.core import Cascade, Plan, WorkerInfo
from diffserve.profiles.latency import LatencyProfile
from diffserve.sim.baselines.published import EWMA_ALPHA, EWMA_SAMPLES, Roles, plan_of
from diffserve.sim.system import Telemetry

OVER_PROVISIONING = 1.25
LATENCY_SHARE = 0.5
"""Share of the SLO that a batch may take; the rest is for the wait. Proteus: half."""


class ProteusController:
    """Gives the heavy variant the largest share of the demand that the fleet can carry."""

    report_period_s = 1.0
    planning_period_s = 5.0

    def __init__(self, catalog: Catalog, cascade: Cascade) -> None:
        self._catalog = catalog
        self._cascade = cascade
        self._rates: deque[float] = deque(maxlen=EWMA_SAMPLES)
        self._latest: Telemetry | None = None
        self._placement: Mapping[str, str] = {}

    def observe(self, telemetry: Telemetry) -> None:
        """Take in one sample per second."""
        if self._latest is not None:
            interval_s = telemetry.reported_s - self._latest.reported_s
            arrivals = telemetry.num_arrivals - self._latest.num_arrivals
            self._rates.append(arrivals / interval_s)
        self._latest = telemetry

    def plan(self, workers: tuple[WorkerInfo, ...], plan_id: int) -> Plan:
        """Return the next plan."""
        roles = self._solve(len(workers), OVER_PROVISIONING * self._demand_qps())
        plan = plan_of(roles, self._catalog, self._cascade, workers, self._placement, plan_id)
        self._placement = plan.placement
        return plan

    def _demand_qps(self) -> float:
        demand_qps = 0.0
        for rate in self._rates:
            demand_qps += EWMA_ALPHA * (rate - demand_qps)
        return demand_qps

    def _solve(self, num_workers: int, demand_qps: float) -> Roles:
        """Return the most heavy workers that leave enough light ones.

        With two variants the accuracy-weighted MILP has this closed form: heavy answers count
        more, so the heavy share h is as large as h D <= x2 T2 and (1 - h) D <= x1 T1 allow.
        """
        light, light_qps = self._best_batch(self._cascade.light)
        heavy, heavy_qps = self._best_batch(self._cascade.heavy)
        best_heavy, best_share = 0, 0.0
        for count in range(num_workers + 1):
            share = min(1.0, count * heavy_qps / demand_qps) if demand_qps > 0.0 else 1.0
            rest_qps = (1.0 - share) * demand_qps
            if rest_qps <= (num_workers - count) * light_qps and share > best_share:
                best_heavy, best_share = count, share
        return Roles(
            light_workers=num_workers - best_heavy,
            light_batch_size=light,
            heavy_workers=best_heavy,
            heavy_batch_size=heavy,
            deferral_fraction=best_share,
            demand_qps=demand_qps,
        )

    def _best_batch(self, variant_id: str) -> tuple[int, float]:
        """Return the batch of largest throughput within its share of the SLO, and that."""
        profile: LatencyProfile = self._catalog.latency[variant_id]
        limit_s = LATENCY_SHARE * self._cascade.slo_s
        fitting = [b for b in profile.batch_sizes if profile.execution_s(b) <= limit_s] or [1]
        size = max(fitting, key=profile.throughput_qps)
        return size, profile.throughput_qps(size)
