"""Every MILP backend returns exactly the plan that enumeration finds, on every case of a grid."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.model import build_model
from diffserve.planning.problem import CascadeProblem, Objective, SolveStatus
from diffserve.planning.solver import Solver, open_cbc, open_gurobi, plan_cascade
from diffserve.profiles.curves import DeferralProfile, QualityCurve
from diffserve.profiles.latency import LatencyProfile
from tests.paper.cascades import paper_problem

# 0.5617... qps is one heavy worker at batch 1, and 10 qps one light worker: capacities met exactly.
DEMANDS_QPS = (0.0, 1e-6, 1 / 1.78, 4.0, 10.0, 16.0, 24.0, 37.3, 400.0)
FLEETS = (0, 1, 2, 3, 7, 16)
WAITS_S = ((0.0, 0.0), (0.3, 1.1), (3.0, 0.0), (0.0, 9.0))
UTILISATIONS = (0.9, 1.0)


@pytest.fixture(scope="module", params=["gurobi", "cbc"])
def solver(request: pytest.FixtureRequest) -> Solver:
    found = open_gurobi() if request.param == "gurobi" else open_cbc()
    return found or pytest.skip(f"no usable {request.param}")


def assert_agreement(problem: CascadeProblem, solver: Solver) -> None:
    expected = plan_cascade(problem, EnumerationSolver())
    result = plan_cascade(problem, solver)
    assert result.allocation == expected.allocation, problem
    assert result.status == expected.status, problem
    # A silent replacement by another backend would make the comparison empty.
    if expected.status is SolveStatus.OPTIMAL:
        assert result.solver == solver.name, problem
    elif (model := build_model(problem)) is not None:
        assert solver.solve(model.program).status is SolveStatus.INFEASIBLE, problem


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("num_workers", FLEETS)
def test_grid_of_problems(solver, objective, num_workers):
    for demand_qps, (light_wait_s, heavy_wait_s), utilisation_max in itertools.product(
        DEMANDS_QPS, WAITS_S, UTILISATIONS
    ):
        problem = paper_problem(
            objective=objective,
            num_workers=num_workers,
            demand_qps=demand_qps,
            light_wait_s=light_wait_s,
            heavy_wait_s=heavy_wait_s,
            utilisation_max=utilisation_max,
        )
        assert_agreement(problem, solver)


@pytest.mark.parametrize("cascade_id", ["cascade_2", "cascade_3"])
def test_other_cascades(solver, cascade_id):
    for demand_qps, objective in itertools.product((4.0, 16.0, 32.0, 40.0), Objective):
        assert_agreement(
            paper_problem(cascade_id, demand_qps=demand_qps, objective=objective), solver
        )


@pytest.mark.parametrize("num_workers", [100, 1000])
def test_large_fleets(solver, num_workers):
    for per_worker_qps in (0.3, 1.0, 2.1):
        problem = paper_problem(
            objective=Objective.QUALITY,
            num_workers=num_workers,
            demand_qps=num_workers * per_worker_qps,
        )
        assert_agreement(problem, solver)


@st.composite
def latency_profiles(draw: st.DrawFn) -> LatencyProfile:
    # Steps in tenths of a second: equal sums of light and heavy latencies are common.
    steps = draw(st.lists(st.integers(0, 10), min_size=1, max_size=5))
    steps[0] += 1
    tenths = itertools.accumulate(steps)
    return LatencyProfile({2**i: value / 10 for i, value in enumerate(tenths)})


@st.composite
def problems(draw: st.DrawFn) -> CascadeProblem:
    fractions = sorted(draw(st.lists(st.integers(0, 10), min_size=2, max_size=12)))
    qualities = draw(st.lists(st.integers(-3, 3), min_size=11, max_size=11))
    return CascadeProblem(
        num_workers=draw(st.integers(0, 12)),
        demand_qps=draw(st.integers(0, 200)) / 4,
        slo_s=draw(st.integers(1, 40)) / 10,
        light=draw(latency_profiles()),
        heavy=draw(latency_profiles()),
        deferral=DeferralProfile(
            tuple(i / 20 for i in range(len(fractions))), tuple(f / 10 for f in fractions)
        ),
        quality=QualityCurve(
            tuple(i / 10 for i in range(11)), tuple(float(q) for q in qualities), "test"
        ),
        light_wait_s=draw(st.integers(0, 5)) / 10,
        heavy_wait_s=draw(st.integers(0, 5)) / 10,
        utilisation_max=draw(st.sampled_from([0.8, 1.0])),
        deferral_fraction_max=draw(st.sampled_from([0.5, 1.0])),
        objective=draw(st.sampled_from(list(Objective))),
    )


@settings(max_examples=100, deadline=None, derandomize=True)
@given(problem=problems())
def test_problems_full_of_ties(solver, problem):
    assert_agreement(problem, solver)
