"""The controller's brain: observation in, plan out; pure but for the solver it is handed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from diffserve.core import CascadePlan, Plan
from diffserve.planning.alone import (
    CascadeDecision,
    batch_sizes,
    cascade_plan,
    decide,
    targets,
)
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.explain import explain, explain_caps
from diffserve.planning.fleet_plan import joint_plan
from diffserve.planning.fleet_solver import Solve, solve_fleet
from diffserve.planning.joint import ALIKE, can_share, class_demand_qps, joint_problem
from diffserve.planning.observation import FleetObservation
from diffserve.planning.parameters import PlannerParameters
from diffserve.planning.prices import cascade_prices
from diffserve.planning.problem import Objective, SolveStatus
from diffserve.planning.program import MixedIntegerProgram, ProgramSolution
from diffserve.planning.sharing import split_fleet
from diffserve.planning.solver import Solver, with_backup
from diffserve.policy.placement import place_variants

__all__ = ["PlannerParameters", "make_plan"]

_SEVERITY = (
    SolveStatus.OPTIMAL,
    SolveStatus.TIME_LIMIT,
    SolveStatus.ERROR,
    SolveStatus.INFEASIBLE,
)


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

    One cascade on devices that are alike is the paper's program, solved exactly. Several cascades,
    classes or device types are one joint program, and so is a single worker that can hold both
    variants. Where no backend solves that, each class gets workers in proportion to its light work
    and the better of its cascades, planned alone.

    Never raises for what was observed: no worker, no demand, overload and waits beyond the SLO all
    have a plan. ``solve_s`` is left 0 for the caller, who owns the clock.

    Args:
        observation: What is known now.
        previous: The plan in force.
        parameters: How to decide.
        solver: From ``choose_solver``. Enumeration solves the paper's program only; for the joint
            one CBC is used where it is installed.
        plan_id: Of the plan to make.
        time_limit_s: Of each solve, of which the joint program has up to four.
    """
    plan = None
    if observation.cascades and observation.usable_workers and _is_joint(observation, parameters):
        plan = _plan_jointly(observation, previous, parameters, solver, plan_id, time_limit_s)
    if plan is None:
        plan = _plan_apart(observation, previous, parameters, solver, plan_id, time_limit_s)
    caps = explain_caps(observation, plan.cascades)
    return replace(plan, reason=f"{plan.reason}; {caps}") if caps else plan


def _is_joint(observation: FleetObservation, parameters: PlannerParameters) -> bool:
    workers = observation.usable_workers
    kinds = {w.kind for w in workers} if observation.latency_by_device else {ALIKE}
    if len(observation.cascades) > 1 or len(kinds) > 1 or parameters.parks_spare:
        return True
    (seen,) = observation.cascades.values()
    if seen.pinned_share is not None:
        return True
    if parameters.objective is Objective.THRESHOLD:
        return False
    light, heavy = seen.cascade.light, seen.cascade.heavy
    return bool(seen.bypass) or (
        len(workers) == 1 and can_share(observation, workers, light, heavy)
    )


def _plan_jointly(
    observation: FleetObservation,
    previous: Plan | None,
    parameters: PlannerParameters,
    solver: Solver | EnumerationSolver,
    plan_id: int,
    time_limit_s: float | None,
) -> Plan | None:
    problem = joint_problem(observation, previous, parameters)
    for backend in with_backup(solver):
        solution = solve_fleet(
            problem,
            _guarded(backend, time_limit_s),
            gain_min=parameters.gain_min,
            parks_spare=parameters.parks_spare,
        )
        if solution is not None:
            return joint_plan(
                *(observation, previous, parameters, solution),
                plan_id=plan_id,
                solver=backend.name,
            )
    return None


def _guarded(backend: Solver, time_limit_s: float | None) -> Solve:
    def solve(program: MixedIntegerProgram) -> ProgramSolution:
        try:
            return backend.solve(program, time_limit_s)
        except Exception:
            # Whatever a foreign library raises, the controller must go on planning.
            return ProgramSolution(SolveStatus.ERROR)

    return solve


def _plan_apart(
    observation: FleetObservation,
    previous: Plan | None,
    parameters: PlannerParameters,
    solver: Solver | EnumerationSolver,
    plan_id: int,
    time_limit_s: float | None,
) -> Plan:
    """Plan every class alone, with its share of the workers."""
    workers = observation.usable_workers
    shares = split_fleet(len(workers), _light_work(observation))
    decisions: list[CascadeDecision] = []
    others: list[CascadePlan] = []
    for group in observation.groups:
        demand_qps = class_demand_qps(observation, group)
        options = [
            decide(
                observation,
                replace(observation.cascades[c], demand_qps=demand_qps),
                shares[group.class_id],
                *(previous, parameters, solver, time_limit_s),
            )
            for c in group.cascade_ids
        ]
        best = max(options, key=_merit)
        decisions.append(best)
        others += [_unused(d) for d in options if d is not best]
    plans = [*(cascade_plan(d) for d in decisions), *others]
    placement = place_variants(workers, previous.placement if previous else {}, targets(decisions))
    # The plan is as good as its worst solve, so that one is named.
    worst = max(
        (d.result for d in decisions), key=lambda r: _SEVERITY.index(r.status), default=None
    )
    return Plan(
        plan_id=plan_id,
        placement=placement,
        batch_size_max=batch_sizes(decisions),
        cascades={p.cascade_id: p for p in sorted(plans, key=lambda p: p.cascade_id)},
        prices=_prices(decisions),
        workers={w.worker_id: w for w in workers if w.worker_id in placement},
        solver=worst.solver if worst else "fallback",
        status=worst.status.value if worst else SolveStatus.OPTIMAL.value,
        reason=_reason(decisions),
    )


def _merit(decision: CascadeDecision) -> tuple[bool, float]:
    """Rank the cascades of a class: feasible ones by value, others by what they carry light."""
    if decision.result.status is not SolveStatus.INFEASIBLE:
        return True, decision.allocation.value
    return False, decision.problem.light.throughput_qps(decision.allocation.light_batch_size)


def _unused(decision: CascadeDecision) -> CascadePlan:
    return replace(
        cascade_plan(decision),
        demand_qps=0.0,
        deferral_fraction=0.0,
        deferral_target=0.0,
        class_share=0.0,
    )


def _light_work(observation: FleetObservation) -> dict[str, float]:
    """Light workers kept busy by each class, at the best throughput within the SLO."""
    work = {}
    for group in observation.groups:
        best_qps = 0.0
        for seen in (observation.cascades[c] for c in group.cascade_ids):
            sizes = [
                b for b in seen.light.batch_sizes if seen.light.execution_s(b) <= seen.cascade.slo_s
            ]
            best_qps = max(best_qps, *(seen.light.throughput_qps(b) for b in sizes or [1]))
        work[group.class_id] = class_demand_qps(observation, group) / best_qps
    return work


def _prices(decisions: Sequence[CascadeDecision]) -> dict[str, float]:
    """Return prices by variant; the highest where cascades share one."""
    prices: dict[str, float] = {}
    for d in decisions:
        cascade = d.seen.cascade
        for variant, price in cascade_prices(
            d.problem, d.allocation, cascade.light, cascade.heavy
        ).items():
            prices[variant] = max(price, prices.get(variant, 0.0))
    return prices


def _reason(decisions: Sequence[CascadeDecision]) -> str:
    if not decisions:
        return "no cascade is configured"
    sentences = {
        d.seen.cascade.cascade_id: explain(d.problem, d.result, is_kept=d.is_kept)
        for d in decisions
    }
    if len(sentences) == 1:
        return next(iter(sentences.values()))
    return "; ".join(f"{cascade_id}: {text}" for cascade_id, text in sentences.items())
