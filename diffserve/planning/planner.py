"""The controller's brain: observation in, plan out; pure but for the solver it is handed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from diffserve.core import CascadePlan, Plan
from diffserve.errors import ConfigError
from diffserve.planning.allocation import allocate, batch_caps, deferral_target
from diffserve.planning.bruteforce import EnumerationSolver, best_choice
from diffserve.planning.explain import explain
from diffserve.planning.observation import CascadeObservation, FleetObservation
from diffserve.planning.problem import (
    Allocation,
    CascadeProblem,
    Objective,
    SolveResult,
    SolveStatus,
)
from diffserve.planning.sharing import split_fleet
from diffserve.planning.solver import Solver, plan_cascade
from diffserve.planning.waits import WaitModel, estimate_waits
from diffserve.policy.placement import place_variants

_SEVERITY = (
    SolveStatus.OPTIMAL,
    SolveStatus.TIME_LIMIT,
    SolveStatus.ERROR,
    SolveStatus.INFEASIBLE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerParameters:
    """How the planner decides.

    Attributes:
        objective: What a plan maximises.
        utilisation_max: Share of a pool's throughput that a plan may use, (0, 1].
        headroom: Factor on the estimated demand, at least 1. The estimate already has headroom for
            its dispersion; the paper's fixed factor is 1.05, its artifact's 1.2.
        deferral_cap_at_best: With the threshold objective, do not defer beyond the best point of
            the quality curve; false is the paper.
        wait_model: How queue waits are predicted.
        wait_share_max: Share of the SLO left by batches of 1 that waits may claim, [0, 1).
        drains_backlog: Plan for light queries that wait already, to be served within one SLO.
        gain_min: Smallest gain that is worth switching workers, as a share of the quality curve's
            range (of 1 for the threshold objective). Threshold and batch sizes, which cost nothing
            to change, are always the best for the placement at hand.
    """

    objective: Objective = Objective.QUALITY
    utilisation_max: float = 0.9
    headroom: float = 1.0
    deferral_cap_at_best: bool = True
    wait_model: WaitModel = WaitModel.QUEUEING
    wait_share_max: float = 0.5
    drains_backlog: bool = True
    gain_min: float = 0.01

    def __post_init__(self) -> None:
        if not 0.0 < self.utilisation_max <= 1.0:
            raise ConfigError("planner utilisation_max: must be in (0, 1]")
        if self.headroom < 1.0:
            raise ConfigError("planner headroom: must be at least 1")
        if not 0.0 <= self.wait_share_max < 1.0:
            raise ConfigError("planner wait_share_max: must be in [0, 1)")
        if self.gain_min < 0.0:
            raise ConfigError("planner gain_min: must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decision:
    seen: CascadeObservation
    problem: CascadeProblem
    result: SolveResult
    is_kept: bool

    @property
    def allocation(self) -> Allocation:
        return self.result.allocation


def make_plan(
    observation: FleetObservation,
    previous: Plan | None,
    parameters: PlannerParameters,
    solver: Solver | EnumerationSolver,
    *,
    plan_id: int,
    time_limit_s: float | None = None,
) -> Plan:
    """Decide who runs what, at which batch size, and how much is deferred. Paper: §3.3.

    Several cascades divide the fleet in proportion to the light work that their demand needs, and
    each is then planned alone: simple, and right when their heavy stages are similarly slow. One
    joint program would be better where they are not.

    Never raises for what was observed: no worker, no demand, overload and waits beyond the SLO all
    have a plan. ``solve_s`` is left 0 for the caller, who owns the clock.
    """
    workers = observation.usable_workers
    shares = split_fleet(len(workers), _light_work(observation.cascades))
    decisions = [
        _decide(observation, seen, shares[cascade_id], previous, parameters, solver, time_limit_s)
        for cascade_id, seen in sorted(observation.cascades.items())
    ]
    placement = place_variants(workers, previous.placement if previous else {}, _targets(decisions))
    # The plan is as good as its worst solve, so that one is named.
    worst = max(
        (d.result for d in decisions), key=lambda r: _SEVERITY.index(r.status), default=None
    )
    return Plan(
        plan_id=plan_id,
        placement=placement,
        batch_size_max=_batch_sizes(decisions),
        cascades={d.seen.cascade.cascade_id: _cascade_plan(d) for d in decisions},
        workers={w.worker_id: w for w in workers if w.worker_id in placement},
        solver=worst.solver if worst else "fallback",
        status=worst.status.value if worst else SolveStatus.OPTIMAL.value,
        reason=_reason(decisions),
    )


def _light_work(cascades: Mapping[str, CascadeObservation]) -> dict[str, float]:
    """Light workers kept busy by each demand, at the best throughput within the SLO."""
    work = {}
    for cascade_id, seen in cascades.items():
        sizes = [
            b for b in seen.light.batch_sizes if seen.light.execution_s(b) <= seen.cascade.slo_s
        ]
        best_qps = max(seen.light.throughput_qps(b) for b in sizes or [1])
        work[cascade_id] = seen.demand_qps / best_qps
    return work


def _decide(
    observation: FleetObservation,
    seen: CascadeObservation,
    num_workers: int,
    previous: Plan | None,
    parameters: PlannerParameters,
    solver: Solver | EnumerationSolver,
    time_limit_s: float | None,
) -> _Decision:
    problem = _problem(observation, seen, num_workers, previous, parameters)
    result = plan_cascade(problem, solver, time_limit_s)
    kept = _best_with_placement(problem, seen, observation, previous)
    if kept is None or result.status is SolveStatus.INFEASIBLE:
        return _Decision(seen=seen, problem=problem, result=result, is_kept=False)
    gain = result.allocation.value - kept.value
    if gain > parameters.gain_min * _value_range(problem):
        return _Decision(seen=seen, problem=problem, result=result, is_kept=False)
    is_kept = kept.light_workers != result.allocation.light_workers
    result = replace(result, allocation=kept)
    return _Decision(seen=seen, problem=problem, result=result, is_kept=is_kept)


def _problem(
    observation: FleetObservation,
    seen: CascadeObservation,
    num_workers: int,
    previous: Plan | None,
    parameters: PlannerParameters,
) -> CascadeProblem:
    cascade = seen.cascade
    light_queue = observation.queue(cascade.light)
    backlog_qps = light_queue.length / cascade.slo_s if parameters.drains_backlog else 0.0
    is_capped = parameters.objective is Objective.THRESHOLD and parameters.deferral_cap_at_best
    problem = CascadeProblem(
        num_workers=num_workers,
        demand_qps=seen.demand_qps * parameters.headroom + backlog_qps,
        slo_s=cascade.slo_s,
        light=seen.light,
        heavy=seen.heavy,
        deferral=seen.deferral,
        quality=seen.quality,
        utilisation_max=parameters.utilisation_max,
        deferral_fraction_max=seen.quality.best_fraction if is_capped else 1.0,
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


def _targets(decisions: Sequence[_Decision]) -> dict[str, int]:
    """Workers per variant, light variants first; cascades may share a variant."""
    wanted = [(d.seen.cascade.light, d.allocation.light_workers) for d in decisions]
    wanted += [(d.seen.cascade.heavy, d.allocation.heavy_workers) for d in decisions]
    targets: dict[str, int] = {}
    for variant, count in wanted:
        targets[variant] = targets.get(variant, 0) + count
    return targets


def _batch_sizes(decisions: Sequence[_Decision]) -> dict[str, int]:
    """Largest batch per variant; the smallest of them where cascades share it."""
    sizes = []
    for d in decisions:
        caps = batch_caps(d.problem, d.allocation)
        sizes += [(d.seen.cascade.light, caps.light), (d.seen.cascade.heavy, caps.heavy)]
    limits: dict[str, int] = {}
    for variant, size in sizes:
        limits[variant] = min(size, limits.get(variant, size))
    return limits


def _cascade_plan(decision: _Decision) -> CascadePlan:
    planned = decision.allocation.deferral_fraction
    target = deferral_target(decision.problem, decision.allocation)
    return CascadePlan(
        cascade_id=decision.seen.cascade.cascade_id,
        demand_qps=decision.problem.demand_qps,
        deferral_fraction=planned,
        deferral_target=target,
        confidence_threshold=decision.allocation.confidence_threshold
        if target == planned
        else decision.seen.deferral.threshold_for(target),
        expected_quality=decision.seen.quality.quality_at(planned),
    )


def _reason(decisions: Sequence[_Decision]) -> str:
    if not decisions:
        return "no cascade is configured"
    sentences = {
        d.seen.cascade.cascade_id: explain(d.problem, d.result, is_kept=d.is_kept)
        for d in decisions
    }
    if len(sentences) == 1:
        return next(iter(sentences.values()))
    return "; ".join(f"{cascade_id}: {text}" for cascade_id, text in sentences.items())
