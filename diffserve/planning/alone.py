"""Plans a cascade by itself: the paper's program, with exact answers. Paper: §3.3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffserve.core import CascadePlan, Plan
from diffserve.planning.allocation import allocate, batch_caps, deferral_target
from diffserve.planning.bruteforce import EnumerationSolver, best_choice
from diffserve.planning.observation import CascadeObservation, FleetObservation
from diffserve.planning.parameters import PlannerParameters
from diffserve.planning.problem import (
    Allocation,
    CascadeProblem,
    Objective,
    SolveResult,
    SolveStatus,
)
from diffserve.planning.solver import Solver, plan_cascade
from diffserve.planning.waits import estimate_waits


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeDecision:
    """What was decided for a cascade that is planned alone.

    Attributes:
        seen: What was observed of it.
        problem: What was asked.
        result: What was answered.
        is_kept: The placement in force was nearly as good.
    """

    seen: CascadeObservation
    problem: CascadeProblem
    result: SolveResult
    is_kept: bool

    @property
    def allocation(self) -> Allocation:
        """The answer."""
        return self.result.allocation


def decide(
    observation: FleetObservation,
    seen: CascadeObservation,
    num_workers: int,
    previous: Plan | None,
    parameters: PlannerParameters,
    solver: Solver | EnumerationSolver,
    time_limit_s: float | None,
) -> CascadeDecision:
    """Solve the problem of one cascade with so many workers; keep its placement if good enough.

    Never raises for what was observed; see ``solver.plan_cascade``.
    """
    problem = _problem(observation, seen, num_workers, previous, parameters)
    result = plan_cascade(problem, solver, time_limit_s)
    kept = _best_with_placement(problem, seen, observation, previous)
    if kept is None or result.status is SolveStatus.INFEASIBLE:
        return CascadeDecision(seen=seen, problem=problem, result=result, is_kept=False)
    gain = result.allocation.value - kept.value
    if gain > parameters.gain_min * _value_range(problem):
        return CascadeDecision(seen=seen, problem=problem, result=result, is_kept=False)
    is_kept = kept.light_workers != result.allocation.light_workers
    result = replace(result, allocation=kept)
    return CascadeDecision(seen=seen, problem=problem, result=result, is_kept=is_kept)


def _problem(
    observation: FleetObservation,
    seen: CascadeObservation,
    num_workers: int,
    previous: Plan | None,
    parameters: PlannerParameters,
) -> CascadeProblem:
    cascade = seen.cascade
    light_queue = observation.queue(cascade.light)
    backlog_qps = light_queue.due_qps if parameters.drains_backlog else 0.0
    is_capped = parameters.objective is Objective.THRESHOLD and parameters.deferral_cap_at_best
    problem = CascadeProblem(
        num_workers=num_workers,
        demand_qps=seen.demand_qps * parameters.headroom + backlog_qps,
        slo_s=cascade.slo_s,
        light=seen.light,
        heavy=seen.heavy,
        deferral=seen.deferral,
        quality=seen.quality.flat_beyond(seen.deferral_limit()),
        utilisation_max=parameters.utilisation_max,
        deferral_fraction_max=min(
            seen.quality.best_fraction if is_capped else 1.0, seen.deferral_limit()
        ),
        objective=parameters.objective,
    )
    in_force = previous.cascades.get(cascade.cascade_id) if previous else None
    waits = estimate_waits(
        problem,
        light_queue,
        observation.queue(cascade.heavy),
        model=parameters.wait_model,
        deferral_fraction=in_force.deferral_fraction if in_force else 1.0,
        share_max=parameters.wait_share_max,
    )
    return replace(problem, light_wait_s=waits.light_s, heavy_wait_s=waits.heavy_s)


def _best_with_placement(
    problem: CascadeProblem,
    seen: CascadeObservation,
    observation: FleetObservation,
    previous: Plan | None,
) -> Allocation | None:
    """Return the best allocation that switches no worker; None: there is none."""
    placement = previous.placement if previous else {}
    hosted = [placement.get(w.worker_id) for w in observation.usable_workers]
    light, heavy = hosted.count(seen.cascade.light), hosted.count(seen.cascade.heavy)
    if light + heavy != problem.num_workers:
        return None
    choice = best_choice(problem, lambda x1, x2: x1 <= light and x2 <= heavy)
    if choice is None:
        return None
    return replace(allocate(problem, choice), light_workers=light, heavy_workers=heavy)


def _value_range(problem: CascadeProblem) -> float:
    if problem.objective is Objective.THRESHOLD:
        return 1.0
    return max(problem.quality.qualities) - min(problem.quality.qualities)


def targets(decisions: Sequence[CascadeDecision]) -> dict[str, int]:
    """Workers per variant, light variants first; cascades may share a variant."""
    wanted = [(d.seen.cascade.light, d.allocation.light_workers) for d in decisions]
    wanted += [(d.seen.cascade.heavy, d.allocation.heavy_workers) for d in decisions]
    counts: dict[str, int] = {}
    for variant, count in wanted:
        counts[variant] = counts.get(variant, 0) + count
    return counts


def batch_sizes(decisions: Sequence[CascadeDecision]) -> dict[str, int]:
    """Largest batch per variant; the smallest of them where cascades share it."""
    sizes = []
    for d in decisions:
        caps = batch_caps(d.problem, d.allocation)
        sizes += [(d.seen.cascade.light, caps.light), (d.seen.cascade.heavy, caps.heavy)]
    limits: dict[str, int] = {}
    for variant, size in sizes:
        limits[variant] = min(size, limits.get(variant, size))
    return limits


def cascade_plan(decision: CascadeDecision) -> CascadePlan:
    """Return the cascade's part of the plan."""
    planned = decision.allocation.deferral_fraction
    pinned = decision.seen.pinned_share
    target = deferral_target(decision.problem, decision.allocation) if pinned is None else pinned
    return CascadePlan(
        cascade_id=decision.seen.cascade.cascade_id,
        demand_qps=decision.problem.demand_qps,
        deferral_fraction=planned,
        deferral_target=target,
        confidence_threshold=decision.allocation.confidence_threshold
        if target == planned
        else decision.seen.deferral.threshold_for(target),
        expected_quality=decision.seen.quality.quality_at(planned),
        slo_s=decision.seen.cascade.slo_s,
        is_pinned=pinned is not None,
    )
