from __future__ import annotations

import pytest

from diffserve.planning.allocation import allocate
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.fleet_model import build_fleet_model
from diffserve.planning.fleet_problem import Place
from diffserve.planning.prices import cascade_prices, fleet_prices
from diffserve.planning.problem import Objective
from tests.paper.cascades import paper_problem
from tests.unit.planning.fleets import candidate, fleet, group, solve_with_cbc

FAST, SLOW = Place("gpu", ("fast",)), Place("gpu", ("slow",))


def prices(**changes):
    solve = solve_with_cbc()
    problem = fleet(group(demand_qps=4.0), devices={"gpu": 4}, **changes)
    fixed = build_fleet_model(problem).with_workers({FAST: 1, SLOW: 3})
    return fleet_prices(fixed, solve(fixed.program))


def test_price_is_what_one_more_worker_second_adds():
    # One more slow worker draws 1 / 0.9 images per second, each 4 better than the fast one's.
    assert prices() == pytest.approx({"fast": 0.0, "slow": 4.0 / 0.9}, rel=1e-4)
    assert prices(utilisation_max=0.8) == pytest.approx(
        {"fast": 0.0, "slow": 4.0 * 0.8 / 0.9}, rel=1e-4
    )


def test_both_ways_to_compute_a_price_agree():
    for demand_qps in (20.0, 28.0, 36.0):
        problem = paper_problem(demand_qps=demand_qps, objective=Objective.QUALITY)
        choice = EnumerationSolver().best_choice(problem)
        assert choice is not None
        price = cascade_prices(problem, allocate(problem, choice), "l", "h")
        rate_qps = problem.heavy.throughput_qps(choice.pair.heavy)
        f = choice.point.fraction
        slope = (problem.quality.quality_at(f + 1e-4) - problem.quality.quality_at(f)) / 1e-4
        assert price["l"] == 0.0
        assert price["h"] >= rate_qps * slope - 1e-6


def test_time_to_spare_costs_nothing():
    problem = paper_problem(demand_qps=2.0, objective=Objective.QUALITY)
    choice = EnumerationSolver().best_choice(problem)
    assert choice is not None
    assert cascade_prices(problem, allocate(problem, choice), "l", "h") == {"l": 0.0, "h": 0.0}
    solve = solve_with_cbc()
    calm = build_fleet_model(fleet(group(demand_qps=0.1))).with_workers({FAST: 4, SLOW: 4})
    assert set(fleet_prices(calm, solve(calm.program)).values()) == {0.0}


def test_thresholds_have_no_price():
    problem = paper_problem(demand_qps=28.0)
    choice = EnumerationSolver().best_choice(problem)
    assert choice is not None
    assert set(cascade_prices(problem, allocate(problem, choice), "l", "h").values()) == {0.0}


def test_price_of_a_shared_variant_is_the_dearest():
    solve = solve_with_cbc()
    two = fleet(
        group("a", demand_qps=4.0),
        group("b", candidate(name="x"), demand_qps=4.0, weight=5.0),
        devices={"gpu": 3, "quick": 1},
    )
    model = build_fleet_model(two)
    fixed = model.with_workers(
        {FAST: 1, SLOW: 2, Place("quick", ("slow",)): 1, Place("quick", ("fast",)): 0}
    )
    found = fleet_prices(fixed, solve(fixed.program))
    assert found["slow"] > 0.0 and found["fast"] == 0.0
