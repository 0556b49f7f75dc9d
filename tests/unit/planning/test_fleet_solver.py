from __future__ import annotations

import pytest

from diffserve.planning.fleet_model import build_fleet_model
from diffserve.planning.fleet_problem import Place
from diffserve.planning.fleet_solver import (
    EXACT_WORKERS_MAX,
    _rounded,
    solve_fleet,
    spread_spare,
    value_bound,
)
from diffserve.planning.problem import SolveStatus
from diffserve.planning.program import MixedIntegerProgram, ProgramSolution
from tests.unit.planning.fleets import candidate, fleet, group, solve_with_cbc

FAST, SLOW = Place("gpu", ("fast",)), Place("gpu", ("slow",))


@pytest.fixture(scope="module")
def solve():
    return solve_with_cbc()


def test_every_worker_has_a_place(solve):
    solution = solve_fleet(fleet(group(demand_qps=4.0)), solve)
    assert solution is not None
    assert solution.workers == {FAST: 1, SLOW: 4}
    assert sum(solution.placed.values()) == 8
    assert solution.placed[SLOW] > solution.placed[FAST]
    assert solution.parked == {"gpu": 0} and not solution.is_kept


def test_spare_workers_are_parked_when_asked(solve):
    solution = solve_fleet(fleet(group(demand_qps=4.0)), solve, parks_spare=True)
    assert solution is not None
    assert solution.placed == {FAST: 1, SLOW: 4}
    assert solution.parked == {"gpu": 3}
    assert solution.model.value(solution.final.values) >= 6.0 - 6e-3


def test_placement_in_force_is_kept_for_a_small_gain(solve):
    kept = solve_fleet(
        fleet(group(demand_qps=7.5), current={FAST: 2, SLOW: 6}), solve, gain_min=0.3
    )
    moved = solve_fleet(
        fleet(group(demand_qps=7.5), current={FAST: 2, SLOW: 6}), solve, gain_min=0.0
    )
    assert kept is not None and moved is not None
    assert kept.is_kept and kept.placed == {FAST: 2, SLOW: 6}
    assert not moved.is_kept and moved.placed == {FAST: 1, SLOW: 7}


@pytest.mark.parametrize(
    "current", [{FAST: 8}, {FAST: 1, SLOW: 6}, {FAST: 1, Place("gpu", ("other",)): 7}]
)
def test_placement_in_force_that_does_not_do_is_changed(solve, current):
    solution = solve_fleet(fleet(group(demand_qps=4.0), current=current), solve, gain_min=0.01)
    assert solution is not None and not solution.is_kept


@pytest.mark.parametrize("num_workers", [40, 400, 4000])
def test_large_fleets_come_close_to_the_bound(solve, num_workers):
    classes = [
        group(f"k{i}", candidate(name=f"a{i}"), candidate("medium", "slow", name=f"b{i}"), **facts)
        for i, facts in enumerate(
            (
                {"demand_qps": 0.3 * num_workers, "slo_s": 3.0},
                {"demand_qps": 0.4 * num_workers, "slo_s": 8.0, "weight": 2.0},
            )
        )
    ]
    devices = {"gpu": num_workers // 2, "quick": num_workers // 2}
    problem = fleet(*classes, devices=devices, utilisation_max=0.85)
    solution, bound = solve_fleet(problem, solve), value_bound(problem, solve)
    assert solution is not None and bound is not None
    value = solution.model.value(solution.final.values)
    # Headroom makes the bound unreachable, more so in small fleets.
    assert bound - 0.1 <= value <= bound + 1e-6
    assert sum(solution.placed.values()) == num_workers


def test_backend_without_answer(solve):
    def silent(program: MixedIntegerProgram) -> ProgramSolution:
        return ProgramSolution(SolveStatus.ERROR)

    def only_integer(program: MixedIntegerProgram) -> ProgramSolution:
        return silent(program) if program.is_linear else solve(program)

    large = fleet(devices={"gpu": EXACT_WORKERS_MAX + 1})
    assert solve_fleet(fleet(), silent) is None
    assert solve_fleet(large, silent) is None
    assert solve_fleet(fleet(), only_integer) is None
    assert value_bound(fleet(), silent) is None
    assert solve_fleet(fleet(latency={}), solve) is None


def test_late_backend_gets_a_rounded_plan(solve):
    def late(program: MixedIntegerProgram) -> ProgramSolution:
        return solve(program) if program.is_linear else ProgramSolution(SolveStatus.TIME_LIMIT)

    def never(program: MixedIntegerProgram) -> ProgramSolution:
        return ProgramSolution(SolveStatus.TIME_LIMIT)

    solution = solve_fleet(fleet(group(demand_qps=4.0)), late)
    assert solution is not None and solution.status is SolveStatus.TIME_LIMIT
    assert solution.workers == {FAST: 1, SLOW: 4}
    assert solve_fleet(fleet(), never) is None


def test_rounding_respects_the_devices():
    model = build_fleet_model(fleet())
    assert _rounded(model, {FAST: 1.2, SLOW: 6.7}) == {FAST: 1, SLOW: 7}
    assert _rounded(model, {FAST: 0.2, SLOW: 7.8}) == {FAST: 1, SLOW: 7}
    assert _rounded(model, {FAST: 1.2, SLOW: 2.5}) == {FAST: 2, SLOW: 3}


def test_spare_workers_follow_the_work():
    model = build_fleet_model(fleet())
    work = {FAST: 0.5, SLOW: 1.5}
    assert spread_spare(model, {FAST: 1, SLOW: 3}, work) == {FAST: 2, SLOW: 6}
    assert spread_spare(model, {FAST: 0, SLOW: 3}, work) == {FAST: 0, SLOW: 8}
    assert spread_spare(model, {FAST: 2, SLOW: 6}, work) == {FAST: 2, SLOW: 6}
    # As on an idle fleet, where one of each would do.
    assert spread_spare(model, {FAST: 1, SLOW: 1}, {FAST: 0.001, SLOW: 0.009}) == {FAST: 2, SLOW: 6}


def test_workers_share_their_time_only_where_that_gains_something(solve):
    pair = Place("gpu", ("fast", "slow"))
    options = {"devices": {"gpu": 2}, "pairs": {"gpu": (pair.bases,)}}
    quiet = fleet(group(demand_qps=0.3), **options)
    alone = solve_fleet(quiet, solve, gain_min=0.01)
    assert alone is not None and alone.placed == {FAST: 1, SLOW: 1, pair: 0}
    # One worker each is too much for the one variant and too little for the other.
    busy = solve_fleet(fleet(group(demand_qps=1.2), **options), solve, gain_min=0.01)
    assert busy is not None and busy.placed == {FAST: 0, SLOW: 1, pair: 1}
    later = fleet(group(demand_qps=0.3), current={pair: 2}, **options)
    again = solve_fleet(later, solve, gain_min=0.01)
    assert again is not None and again.placed == {FAST: 1, SLOW: 1, pair: 0}
    assert again.model.value(again.final.values) == pytest.approx(6.0)


def test_a_lone_worker_shares_its_time(solve):
    pair = Place("gpu", ("fast", "slow"))
    problem = fleet(group(demand_qps=0.3), devices={"gpu": 1}, pairs={"gpu": (pair.bases,)})
    solution = solve_fleet(problem, solve)
    assert solution is not None and solution.placed[pair] == 1


def test_workers_that_no_load_needs_wait_for_the_first_query():
    model = build_fleet_model(fleet())
    placed = spread_spare(model, {FAST: 0, SLOW: 0}, {})
    assert sum(placed.values()) == 8
    assert placed[FAST] == 8 or placed[SLOW] == 8
