"""DiffServe as published: demand from queries in flight, largest threshold, every five seconds.

Paper: §3.3 and the public artifact. What shapes its results is kept, what merely crashes is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from diffserve.catalog import Catalog
from diffserve.core import Cascade, CascadePlan, Plan, WorkerInfo
from diffserve.planning.allocation import (
    PlanChoice,
    fallback_allocation,
    heavy_workers_needed,
    light_workers_needed,
)
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.problem import CascadeProblem, Objective
from diffserve.sim.system import Telemetry

OVER_PROVISIONING = 1.2
"""Factor on demand in the artifact; the paper's text has 1.05."""
EWMA_SAMPLES = 20
EWMA_ALPHA = 1.0 / (1.0 + 2.1)
"""Artifact: the last 20 samples of one second, centre of mass 2.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """What a plan of the baselines asks for.

    Attributes:
        light_workers: Workers that shall run light.
        light_batch_size: Their batch.
        heavy_workers: Workers that shall run heavy.
        heavy_batch_size: Their batch.
        deferral_fraction: Share that goes to the heavy stage.
        demand_qps: Planned for.
        is_fallback: There was no feasible plan.
    """

    light_workers: int
    light_batch_size: int
    heavy_workers: int
    heavy_batch_size: int
    deferral_fraction: float
    demand_qps: float = 0.0
    is_fallback: bool = False


def plan_of(
    roles: Roles,
    catalog: Catalog,
    cascade: Cascade,
    workers: tuple[WorkerInfo, ...],
    current: Mapping[str, str],
    plan_id: int,
) -> Plan:
    """Place roles on workers as the artifact does; return the plan.

    Workers are walked in the order of registration; the first role that is short of workers gets
    the worker, whatever it runs now. Workers beyond the targets keep what they have.
    """
    missing = {cascade.light: roles.light_workers, cascade.heavy: roles.heavy_workers}
    placement: dict[str, str] = {}
    for worker in workers:
        wanted = next((v for v, count in missing.items() if count > 0), None)
        if wanted is not None:
            missing[wanted] -= 1
        placement[worker.worker_id] = wanted or current.get(worker.worker_id, cascade.light)
    deferral = catalog.deferral[cascade.cascade_id]
    quality = catalog.quality[cascade.cascade_id]
    return Plan(
        plan_id=plan_id,
        placement=placement,
        batch_size_max={
            cascade.light: roles.light_batch_size,
            cascade.heavy: roles.heavy_batch_size,
        },
        cascades={
            cascade.cascade_id: CascadePlan(
                cascade_id=cascade.cascade_id,
                demand_qps=roles.demand_qps,
                deferral_fraction=roles.deferral_fraction,
                deferral_target=roles.deferral_fraction,
                confidence_threshold=deferral.threshold_for(roles.deferral_fraction),
                expected_quality=quality.quality_at(roles.deferral_fraction),
            )
        },
        workers={w.worker_id: w for w in workers},
        solver="fallback" if roles.is_fallback else "enumeration",
        status="infeasible" if roles.is_fallback else "optimal",
    )


class PublishedController:
    """Plans for the largest threshold from queries in flight, every 5 s."""

    report_period_s = 1.0
    planning_period_s = 5.0

    def __init__(self, catalog: Catalog, cascade: Cascade) -> None:
        self._catalog = catalog
        self._cascade = cascade
        self._samples: deque[Telemetry] = deque(maxlen=EWMA_SAMPLES)
        self._placement: Mapping[str, str] = {}
        self._roles: Roles | None = None
        self._decided_s = 0.0
        self._resident: Mapping[str, tuple[str, ...]] = {}

    def observe(self, telemetry: Telemetry) -> None:
        """Take in one sample per second."""
        self._samples.append(telemetry)

    def plan(self, workers: tuple[WorkerInfo, ...], plan_id: int) -> Plan:
        """Return the next plan; the first one is the artifact's fixed start.

        A worker that has loaded its variant is no reason to decide anew.
        """
        resident = {w.worker_id: tuple(sorted(w.resident)) for w in workers}
        now_s = self._samples[-1].reported_s if self._samples else 0.0
        is_due = now_s - self._decided_s >= self.planning_period_s - 1e-6
        if is_due:
            self._decided_s = now_s
        if self._roles is None or is_due or resident == self._resident:
            self._roles = self._solve(len(workers)) if self._samples else None
        self._resident = resident
        roles = self._roles or _initial_roles(len(workers))
        plan = plan_of(roles, self._catalog, self._cascade, workers, self._placement, plan_id)
        self._placement = plan.placement
        return plan

    def _solve(self, num_workers: int) -> Roles:
        problem = self._problem(num_workers)
        choice = EnumerationSolver().best_choice(problem)
        if choice is None:
            return _fallback_roles(problem)
        return _needed_roles(problem, choice)

    def _problem(self, num_workers: int) -> CascadeProblem:
        """Demand is 1.2 times the queries in the system, and waits divide by such a count too."""
        cascade, catalog = self._cascade, self._catalog
        return CascadeProblem(
            num_workers=num_workers,
            demand_qps=OVER_PROVISIONING * _ewma([s.num_in_progress for s in self._samples]),
            slo_s=cascade.slo_s,
            light=catalog.latency[cascade.light],
            heavy=catalog.latency[cascade.heavy],
            deferral=catalog.deferral[cascade.cascade_id],
            quality=catalog.quality[cascade.cascade_id],
            light_wait_s=self._wait_s(cascade.light),
            heavy_wait_s=self._wait_s(cascade.heavy),
            objective=Objective.THRESHOLD,
        )

    def _wait_s(self, variant_id: str) -> float:
        """Little's law with a count in place of the rate: never above about a second."""
        waiting = _ewma([s.queues[variant_id].length for s in self._samples])
        in_stage = _ewma([s.num_in_stage[variant_id] for s in self._samples])
        return waiting / in_stage if in_stage > 0.0 else 0.0


def _ewma(samples: list[int]) -> float:
    """Return the exponentially weighted mean, newest last, weights normalised over the window."""
    weights = [(1.0 - EWMA_ALPHA) ** age for age in range(len(samples) - 1, -1, -1)]
    return sum(w * s for w, s in zip(weights, samples, strict=True)) / sum(weights)


def _initial_roles(num_workers: int) -> Roles:
    """Artifact: half the workers light, batches of 8, everything deferred, for the first 5 s."""
    light = (num_workers + 2) // 2
    return Roles(
        light_workers=light,
        light_batch_size=8,
        heavy_workers=num_workers - light,
        heavy_batch_size=8,
        deferral_fraction=1.0,
    )


def _needed_roles(problem: CascadeProblem, choice: PlanChoice) -> Roles:
    """Return the workers needed; the others keep their role, as the solver leaves them out."""
    point, pair = choice.point, choice.pair
    return Roles(
        light_workers=light_workers_needed(problem, pair.light),
        light_batch_size=pair.light,
        heavy_workers=heavy_workers_needed(problem, pair.heavy, point.fraction),
        heavy_batch_size=max(1, pair.heavy),
        deferral_fraction=point.fraction,
        demand_qps=problem.demand_qps,
    )


def _fallback_roles(problem: CascadeProblem) -> Roles:
    """All light: the artifact's control thread dies here, so its successor's rule is taken."""
    allocation = fallback_allocation(problem)
    return Roles(
        light_workers=problem.num_workers,
        light_batch_size=allocation.light_batch_size,
        heavy_workers=0,
        heavy_batch_size=1,
        deferral_fraction=0.0,
        demand_qps=problem.demand_qps,
        is_fallback=True,
    )
