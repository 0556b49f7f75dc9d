"""Solves joint problems: to proof while the fleet is small, to a tiny gap where it is large."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from diffserve.planning.fleet_model import SCALE, FleetModel, build_fleet_model
from diffserve.planning.fleet_problem import FleetProblem, Place
from diffserve.planning.problem import SolveStatus
from diffserve.planning.program import MixedIntegerProgram, ProgramSolution
from diffserve.planning.staffing import grade_for_workers, grade_of, workers_needed

EXACT_WORKERS_MAX = 32
"""Largest fleet that is planned to proof; there a worker more or less matters."""
GAP = 1e-4
"""Of the range of values: how far from the best a larger fleet's plan may be."""
PARKING_SLACK = 1e-3
"""Ranges of value that parking may cost."""

Solve = Callable[[MixedIntegerProgram], ProgramSolution]


@dataclass(frozen=True, slots=True)
class FleetSolution:
    """What the solves came to.

    Attributes:
        model: The linear one that is left with all workers in their places.
        workers: Place -> workers needed, whole.
        final: Its solution.
        placed: Place -> workers with the spare ones.
        parked: Device type -> workers left out.
        status: Of the solve that decided.
        is_kept: The placement in force was nearly as good.
    """

    model: FleetModel
    workers: Mapping[Place, int]
    final: ProgramSolution
    placed: Mapping[Place, int]
    parked: Mapping[str, int]
    status: SolveStatus
    is_kept: bool


def solve_fleet(
    problem: FleetProblem, solve: Solve, *, gain_min: float = 0.0, parks_spare: bool = False
) -> FleetSolution | None:
    """Solve a joint problem; None when the backend has no answer.

    Args:
        problem: With at least one class and one worker.
        solve: Runs a backend.
        gain_min: Smallest gain worth switching workers for, in ranges of value.
        parks_spare: Leave out the workers that quality does not need.
    """
    model = build_fleet_model(problem)
    if not model.places:
        return None
    if _is_large(problem):
        first = solve(model.relaxed())
        if not first.values:
            return None
        grades = [
            grade_of(load, problem.utilisation_max, problem.staffing_beta)
            for load in model.place_loads(first.values).values()
        ]
        model = build_fleet_model(problem, grades, model.routes)
    decided = _decide(model, solve, parks_spare=parks_spare)
    if decided is None:
        return None
    needed, loads, status = decided
    placed = dict(needed) if parks_spare else spread_spare(model, needed, loads)
    fixed = model.with_workers(placed)
    final = solve(fixed.program)
    if not final.values:
        return None
    is_kept = False
    if not parks_spare and _may_be_kept(model, placed):
        kept = model.with_workers(problem.current)
        solution = solve(kept.program)
        is_kept = _is_as_good(fixed, final, kept, solution, gain_min)
        if is_kept:
            fixed, final, placed = kept, solution, dict(problem.current)
            needed = _needed(kept, solution)
    parked = {
        device: count - sum(n for p, n in placed.items() if p.device == device)
        for device, count in problem.devices.items()
    }
    return FleetSolution(fixed, needed, final, placed, parked, status, is_kept)


def _is_large(problem: FleetProblem) -> bool:
    return problem.num_workers > EXACT_WORKERS_MAX


def _decide(
    model: FleetModel, solve: Solve, *, parks_spare: bool
) -> tuple[dict[Place, int], dict[Place, float], SolveStatus] | None:
    """Return the whole workers that each place needs, its work, and how the solve ended."""
    gap = GAP if _is_large(model.problem) else 0.0
    program = replace(model.program, gap=gap)
    solution = solve(program)
    if solution.status is SolveStatus.TIME_LIMIT and not solution.values:
        # Better a rounded plan than none.
        relaxed = solve(model.relaxed())
        workers = _rounded(model, model.workers(relaxed.values)) if relaxed.values else None
        loads = model.place_loads(relaxed.values)
        return (workers, loads, SolveStatus.TIME_LIMIT) if workers else None
    if not solution.values:
        return None
    if parks_spare:
        floor = model.quality(solution.values) - SCALE * PARKING_SLACK
        fewest = solve(model.frugal(floor, gap))
        solution = fewest if fewest.values else solution
    needed = {p: round(n) for p, n in model.workers(solution.values).items()}
    return needed, model.place_loads(solution.values), solution.status


def value_bound(problem: FleetProblem, solve: Solve) -> float | None:
    """Return a value that no plan exceeds: workers divided at will, least headroom everywhere.

    What a worker carries rises with the size of its place, so each place gets the line that holds
    for all devices of its type together. None when the backend has no answer.
    """
    model = build_fleet_model(problem)
    grades = [
        grade_for_workers(problem.devices[p.device], problem.utilisation_max, problem.staffing_beta)
        for p in model.places
    ]
    model = build_fleet_model(problem, grades, model.routes)
    solution = solve(model.relaxed())
    return model.value(solution.values) if solution.values else None


def _whole(workers: float) -> int:
    """Round up, forgiving solver tolerances."""
    return math.ceil(workers - 1e-6)


def _rounded(model: FleetModel, workers: Mapping[Place, float]) -> dict[Place, int]:
    """Round up where the devices suffice, else by largest remainder, per device type."""
    whole = {p: _whole(n) for p, n in workers.items()}
    for device, count in sorted(model.problem.devices.items()):
        members = [p for p in model.places if p.device == device]
        excess = sum(whole[p] for p in members) - count
        # Those whose last worker was needed least lose it; remainders rounded, so that solvers
        # agree.
        rounded_up = [p for p in members if whole[p] > 0]
        by_need = sorted(
            rounded_up, key=lambda p: (whole[p] == 1, -round(whole[p] - workers[p], 5), p)
        )
        for place in by_need[: max(0, excess)]:
            whole[place] -= 1
    return whole


def spread_spare(
    model: FleetModel, needed: Mapping[Place, int], loads: Mapping[Place, float]
) -> dict[Place, int]:
    """Give every worker a place: those to spare widen the places in use, by their work.

    They serve bursts between plans, so parking them would cost more than it saves, unless the
    owner of the devices says otherwise. Devices of a type that the plan does without join the
    largest pool elsewhere that they are fast enough for; where there is none they get no place.
    Without any load they wait where most can be done: somebody must serve the first query.
    """
    placed = dict(needed)
    for device, count in model.problem.devices.items():
        weights = {p: n for p, n in needed.items() if p.device == device and n > 0}
        weights = weights or _reserve(model, needed, device)
        spare = count - sum(needed[p] for p in weights)
        if not weights or spare <= 0:
            continue
        work = {p: loads.get(p, 0.0) for p in weights}
        shares = _shares_of(work if any(work.values()) else weights)
        exact = {p: needed[p] + spare * shares[p] for p in weights}
        for place in weights:
            placed[place] = math.floor(exact[place] + 1e-9)
        left = count - sum(placed[p] for p in weights)
        by_rest = sorted(weights, key=lambda p: (placed[p] - exact[p], p))
        for place in by_rest[:left]:
            placed[place] += 1
    return placed


def _shares_of(weights: Mapping[Place, float]) -> dict[Place, float]:
    """Return weights, not all 0, that sum to 1."""
    total = sum(weights.values())
    return {place: weight / total for place, weight in weights.items()}


def _reserve(model: FleetModel, needed: Mapping[Place, int], device: str) -> dict[Place, int]:
    """Return the place, as the only one with a weight, that idle devices of a type join."""
    usable = {p.place for r in model.routes for p in (*r.lights, *r.heavies)}
    elsewhere: dict[tuple[str, ...], int] = {}
    for place, workers in needed.items():
        elsewhere[place.bases] = elsewhere.get(place.bases, 0) + workers
    options = [p for p in model.places if p.device == device and p in usable]
    if any(needed.values()):
        options = [p for p in options if elsewhere.get(p.bases, 0) > 0]
    best = max(options, key=lambda p: (elsewhere.get(p.bases, 0), len(p.bases)), default=None)
    return {} if best is None else {best: 1}


def _may_be_kept(model: FleetModel, placed: Mapping[Place, int]) -> bool:
    """Tell whether the placement in force is complete, possible and another than the new one."""
    current = {p: n for p, n in model.problem.current.items() if n > 0}
    is_complete = sum(current.values()) == model.problem.num_workers
    is_new = current != {p: n for p, n in placed.items() if n > 0}
    return is_complete and is_new and set(current) <= set(model.places)


def _is_as_good(
    fresh: FleetModel,
    best: ProgramSolution,
    kept: FleetModel,
    solution: ProgramSolution,
    gain_min: float,
) -> bool:
    """Tell whether the best use of the placement in force comes close enough to the best plan."""
    if not solution.values or kept.shed(solution.values) > fresh.shed(best.values) + 1e-6:
        return False
    return fresh.worth(best.values) - kept.worth(solution.values) <= SCALE * gain_min


def _needed(model: FleetModel, solution: ProgramSolution) -> dict[Place, int]:
    loads, problem = model.place_loads(solution.values), model.problem
    return {
        place: _whole(workers_needed(load, problem.utilisation_max, problem.staffing_beta))
        for place, load in loads.items()
    }
