from __future__ import annotations

import pytest

from diffserve.planning.fleet_model import build_fleet_model, class_shares
from diffserve.planning.fleet_problem import Place
from diffserve.planning.observation import VariantFacts
from diffserve.planning.problem import SolveStatus
from diffserve.planning.program import VariableKind
from diffserve.planning.staffing import Grade
from tests.unit.planning.fleets import candidate, fleet, group, solve_with_cbc

FAST, SLOW = Place("gpu", ("fast",)), Place("gpu", ("slow",))


@pytest.fixture(scope="module")
def solve():
    return solve_with_cbc()


def test_one_cascade_is_two_staff_rows_and_a_device_row():
    model = build_fleet_model(fleet())
    names = [row.name for row in model.program.constraints]
    assert names == ["class_0", "staff_0", "staff_1", "devices_0"]
    kinds = {v.name: v.kind for v in model.program.variables}
    assert kinds["n_0"] is VariableKind.INTEGER and kinds["u_0"] is VariableKind.CONTINUOUS
    assert not model.program.is_linear and model.relaxed().is_linear


def test_solution_is_read_back(solve):
    model = build_fleet_model(fleet(group(demand_qps=4.0)))
    solution = solve(model.program)
    assert solution.status is SolveStatus.OPTIMAL
    assert model.workers(solution.values) == pytest.approx({FAST: 1.0, SLOW: 4.0})
    loads = model.place_loads(solution.values)
    assert loads == pytest.approx({FAST: 4 * 0.25 / 4, SLOW: 4 * 1.8 / 2})
    assert model.value(solution.values) == pytest.approx(6.0)
    assert model.shed(solution.values) == pytest.approx(0.0)
    ((route, index, share),) = model.shares(solution.values)
    assert (route.points[index].deferral, share) == (1.0, pytest.approx(1.0))


def test_flows_divide_work_between_device_types(solve):
    model = build_fleet_model(fleet(group(demand_qps=8.0), devices={"gpu": 3, "quick": 4}))
    names = {row.name for row in model.program.constraints}
    assert {"flow_0_l", "flow_1_l", "flow_1_h", "devices_0", "devices_1"} <= names
    solution = solve(model.program)
    assert model.value(solution.values) == pytest.approx(6.0)
    used = {p.device for p, load in model.place_loads(solution.values).items() if load > 0.01}
    assert used == {"gpu", "quick"}


def test_overload_is_shed_at_the_worst_value(solve):
    model = build_fleet_model(fleet(group(demand_qps=1000.0), devices={"gpu": 1}))
    solution = solve(model.program)
    assert model.shed(solution.values) == pytest.approx(1.0 - 16.0 / 1000.0)
    assert model.value(solution.values) == pytest.approx(0.0)


def test_given_workers_leave_a_linear_program_with_duals(solve):
    model = build_fleet_model(fleet(group(demand_qps=4.0), devices={"gpu": 4}))
    fixed = model.with_workers({FAST: 1, SLOW: 3})
    assert fixed.program.is_linear
    solution = solve(fixed.program)
    assert fixed.workers(solution.values) == {FAST: 1.0, SLOW: 3.0}
    assert solution.duals["staff_1"] > 1.0 and solution.duals["staff_0"] == pytest.approx(0.0)


def test_no_workers_carry_nothing(solve):
    fixed = build_fleet_model(fleet()).with_workers({FAST: 8})
    solution = solve(fixed.program)
    assert fixed.value(solution.values) == pytest.approx(0.0)
    assert fixed.shed(solution.values) == pytest.approx(0.0)


def test_loading_costs_capacity(solve):
    facts = {"slow": VariantFacts(base="slow", load_s=30.0)}
    moves = fleet(
        group(demand_qps=4.0), facts=facts, residency={("fast", "gpu"): 8}, horizon_s=60.0
    )
    stays = fleet(group(demand_qps=4.0), facts=facts, residency={("slow", "gpu"): 8})
    counts = []
    for problem in (moves, stays):
        model = build_fleet_model(problem)
        solution = solve(model.program)
        counts.append(model.workers(solution.values)[SLOW])
        assert any(row.name == "loading_1" for row in model.program.constraints)
    # Half of the period is lost to loading, so 3.6 worker-seconds per second take 7 workers.
    assert counts == [7.0, 4.0]


def test_held_weights_decide_between_equals(solve):
    twins = (candidate("fast", "slow", name="a"), candidate("fast", "slow", name="b"))
    model = build_fleet_model(fleet(group("main", *twins), residency={("slow", "gpu"): 3}))
    solution = solve(model.program)
    assert model.workers(solution.values)[SLOW] == 4.0
    assert solution.values["s_1"] == pytest.approx(1.0)


def test_fewest_workers_for_nearly_the_same_quality(solve):
    model = build_fleet_model(fleet(group(demand_qps=4.0)))
    best = solve(model.program)
    frugal = solve(model.frugal(model.quality(best.values) - 400.0))
    assert sum(model.workers(frugal.values).values()) < sum(model.workers(best.values).values())
    assert model.quality(frugal.values) >= model.quality(best.values) - 400.0 - 1e-6


def test_intercepts_raise_the_need(solve):
    problem = fleet(group(demand_qps=4.0))
    plain = build_fleet_model(problem)
    raised = build_fleet_model(problem, [Grade(1.0, 0.0), Grade(1.0, 2.0)], plain.routes)
    workers = raised.workers(solve(raised.program).values)
    assert workers[SLOW] == 6.0


def test_classes_count_by_weight_and_demand():
    problem = fleet(
        group("a", demand_qps=1.0), group("b", candidate(name="x"), demand_qps=1.0, weight=3.0)
    )
    assert class_shares(problem) == [0.25, 0.75]
    idle = fleet(group("a", demand_qps=0.0), group("b", candidate(name="x"), demand_qps=0.0))
    assert class_shares(idle) == [0.5, 0.5]
