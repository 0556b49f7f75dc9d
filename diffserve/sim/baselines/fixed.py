"""Systems that never re-plan: Clipper-Light, Clipper-Heavy and DiffServe-Static. Paper: §5."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from diffserve.catalog import Catalog
from diffserve.core import Cascade, Plan, WorkerInfo
from diffserve.planning.allocation import allocate
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.problem import CascadeProblem, Objective
from diffserve.profiles.latency import LatencyProfile
from diffserve.sim.baselines.published import Roles, plan_of
from diffserve.sim.system import Telemetry

PUBLISHED_WORKERS = 16
PUBLISHED_STATIC: Mapping[str, tuple[float, Roles]] = {
    "paper-sdturbo": (
        0.02,
        Roles(
            light_workers=4,
            light_batch_size=16,
            heavy_workers=12,
            heavy_batch_size=4,
            deferral_fraction=0.0,
        ),
    ),
    "paper-sdxs": (
        0.12,
        Roles(
            light_workers=2,
            light_batch_size=32,
            heavy_workers=14,
            heavy_batch_size=4,
            deferral_fraction=0.0,
        ),
    ),
    "paper-sdxl": (
        0.02,
        Roles(
            light_workers=9,
            light_batch_size=4,
            heavy_workers=7,
            heavy_batch_size=2,
            deferral_fraction=0.0,
        ),
    ),
}
"""Threshold and roles of DiffServe-Static in the artifact, for its 16 workers."""
PEAK_HEADROOM = 1.05
"""Over-provisioning of the static plan elsewhere. Paper: §3.3."""


class FixedController:
    """Keeps one division of roles; workers that die are not replaced."""

    report_period_s = math.inf
    planning_period_s = math.inf

    def __init__(self, catalog: Catalog, cascade: Cascade, roles: Roles) -> None:
        self._catalog = catalog
        self._cascade = cascade
        self._roles = roles
        self._placement: Mapping[str, str] = {}

    def observe(self, telemetry: Telemetry) -> None:
        """Ignore it."""

    def plan(self, workers: tuple[WorkerInfo, ...], plan_id: int) -> Plan:
        """Return the one plan; later only who is alive can differ, and everyone keeps its role."""
        plan = plan_of(self._roles, self._catalog, self._cascade, workers, {}, plan_id)
        if self._placement:
            kept = {w: self._placement.get(w, v) for w, v in plan.placement.items()}
            plan = replace(plan, placement=kept)
        self._placement = {**self._placement, **plan.placement}
        return plan


def clipper_roles(catalog: Catalog, cascade: Cascade, num_workers: int, *, heavy: bool) -> Roles:
    """Return all workers on one variant, with the largest batch that takes at most the SLO.

    Paper: §5 (baselines). The artifact runs these with batches of 1, which halves Clipper-Heavy.
    """
    light_batch = _largest_batch(catalog.latency[cascade.light], cascade.slo_s)
    heavy_batch = _largest_batch(catalog.latency[cascade.heavy], cascade.slo_s)
    return Roles(
        light_workers=0 if heavy else num_workers,
        light_batch_size=light_batch,
        heavy_workers=num_workers if heavy else 0,
        heavy_batch_size=heavy_batch,
        deferral_fraction=1.0 if heavy else 0.0,
    )


def static_roles(catalog: Catalog, cascade: Cascade, num_workers: int, peak_qps: float) -> Roles:
    """Return DiffServe-Static: roles and threshold once, for the peak.

    For the paper's cascades on 16 workers these are the artifact's; elsewhere the largest
    threshold that carries the peak.
    """
    deferral = catalog.deferral[cascade.cascade_id]
    published = PUBLISHED_STATIC.get(cascade.cascade_id)
    if published is not None and num_workers == PUBLISHED_WORKERS:
        threshold, roles = published
        return replace(roles, deferral_fraction=deferral.fraction_at(threshold))
    problem = CascadeProblem(
        num_workers=num_workers,
        demand_qps=PEAK_HEADROOM * peak_qps,
        slo_s=cascade.slo_s,
        light=catalog.latency[cascade.light],
        heavy=catalog.latency[cascade.heavy],
        deferral=deferral,
        quality=catalog.quality[cascade.cascade_id],
        objective=Objective.THRESHOLD,
    )
    choice = EnumerationSolver().best_choice(problem)
    if choice is None:
        return clipper_roles(catalog, cascade, num_workers, heavy=False)
    allocation = allocate(problem, choice)
    return Roles(
        light_workers=allocation.light_workers,
        light_batch_size=allocation.light_batch_size,
        heavy_workers=allocation.heavy_workers,
        heavy_batch_size=allocation.heavy_batch_size,
        deferral_fraction=allocation.deferral_fraction,
        demand_qps=problem.demand_qps,
    )


def _largest_batch(profile: LatencyProfile, slo_s: float) -> int:
    return max((b for b in profile.batch_sizes if profile.execution_s(b) <= slo_s), default=1)
