from __future__ import annotations

import pytest

from diffserve.planning.allocation import BatchPair
from diffserve.planning.model import CascadeModel, build_model
from diffserve.planning.problem import CascadeProblem, Objective, SolveStatus
from diffserve.planning.program import VariableKind
from diffserve.planning.solver import choose_solver, plan_cascade
from diffserve.profiles.curves import DeferralProfile
from diffserve.profiles.latency import LatencyProfile
from tests.paper.cascades import paper_problem


def model_of(problem: CascadeProblem) -> CascadeModel:
    model = build_model(problem)
    assert model is not None
    return model


def point(model: CascadeModel, fraction: float, pair: BatchPair) -> dict[str, float]:
    """Values of a complete solution: chosen point and pair, needed workers."""
    light, heavy = pair.light, pair.heavy
    index = next(i for i, p in enumerate(model.points) if p.fraction == fraction)
    values = {v.name: 0.0 for v in model.program.variables}
    values |= {f"y_{index}": 1.0, f"w_{light}_{heavy}": 1.0, f"z_light_{light}": 1.0}
    values[f"n_light_{light}"] = 2.0
    if heavy:
        values |= {f"z_heavy_{heavy}": 1.0, f"n_heavy_{heavy}": 14.0}
    return values


def violated(model: CascadeModel, values: dict[str, float]) -> list[str]:
    return [
        row.name
        for row in model.program.constraints
        if not row.lower - 1e-9
        <= sum(c * values[name] for name, c in row.terms.items())
        <= row.upper + 1e-9
    ]


def test_published_plan_satisfies_every_row():
    model = model_of(paper_problem(demand_qps=32.0))
    values = point(model, 0.469, BatchPair(4, 4))
    assert violated(model, values) == []


def test_each_broken_equation_is_named():
    model = model_of(paper_problem(demand_qps=32.0))
    good = point(model, 0.469, BatchPair(4, 4))
    assert violated(model, good | {"n_heavy_4": 15.0}) == ["workers"]
    assert violated(model, good | {"n_heavy_4": 13.0}) == [
        "heavy_whole_workers_4",
        "heavy_throughput",
    ]
    assert violated(model, good | {"n_light_4": 1.0}) == [
        "light_whole_workers_4",
        "light_throughput",
    ]
    late = model_of(paper_problem(demand_qps=32.0, light_wait_s=0.9))
    assert violated(late, good) == []
    later = point(late, 0.469, BatchPair(4, 4)) | {"z_light_4": 0.0, "z_light_16": 1.0}
    assert "latency" in violated(late, later)


def test_whole_worker_rows_leave_no_room_for_tolerances():
    """14 workers carry 0.469 but not 0.477: the float row is missed by 0.05, the other by 1."""
    model = model_of(paper_problem(demand_qps=32.0))
    too_much = point(model, 0.477, BatchPair(4, 4))
    row = next(r for r in model.program.constraints if r.name == "heavy_whole_workers_4")
    assert row.lower - sum(c * too_much[n] for n, c in row.terms.items()) == 1.0


def test_nothing_deferred_needs_no_heavy_stage_for_quality():
    model = model_of(paper_problem(objective=Objective.QUALITY, demand_qps=30.0))
    values = point(model, 0.0, BatchPair(4, 0))
    assert violated(model, values) == []
    assert model.choice(values) is not None


def test_paper_charges_the_heavy_stage_always():
    model = model_of(paper_problem(demand_qps=30.0))
    values = {v.name: 0.0 for v in model.program.variables}
    values |= {"y_0": 1.0, "z_light_4": 1.0, "n_light_4": 2.0}
    assert "heavy_batch_if_needed" in violated(model, values)


def test_points_that_defer_more_for_no_gain_are_left_out():
    model = model_of(paper_problem(objective=Objective.QUALITY))
    values = [p.value for p in model.points]
    assert values == sorted(set(values))
    assert model.points[-1].fraction == pytest.approx(0.602)


def test_objective_ranks_points_before_pairs():
    model = model_of(paper_problem(demand_qps=8.0))
    terms = model.program.objective
    span = max(-terms[f"w_{p.light}_{p.heavy}"] for p in model.pairs)
    assert span < terms["y_1"] - terms["y_0"]
    assert all(value == int(value) for value in terms.values())


def test_program_stays_within_the_free_licence():
    """Gurobi's bundled licence: 2,000 variables, 2,000 rows. The largest program we ever build."""
    fine = tuple(i / 2000 for i in range(2001))
    latencies = LatencyProfile({size: 0.01 * size for size in range(1, 65)})
    problem = paper_problem(
        light=latencies, heavy=latencies, deferral=DeferralProfile(fine, fine), num_workers=1000
    )
    for objective in Objective:
        program = model_of(
            CascadeProblem(
                **{
                    name: getattr(problem, name)
                    for name in CascadeProblem.__dataclass_fields__
                    if name != "objective"
                },
                objective=objective,
            )
        ).program
        assert len(program.variables) < 700
        assert len(program.constraints) < 150


def test_program_is_the_same_every_time():
    assert build_model(paper_problem()) == build_model(paper_problem())


def test_plainly_infeasible_problems_have_no_program():
    assert build_model(paper_problem(num_workers=0)) is None
    assert build_model(paper_problem(light_wait_s=6.0)) is None


def test_model_without_any_heavy_choice_is_solved():
    """No heavy batch meets the SLO and nothing may be deferred: only light choices are left."""
    problem = paper_problem(
        objective=Objective.QUALITY, heavy_wait_s=9.0, deferral_fraction_max=0.0, demand_qps=30.0
    )
    model = model_of(problem)
    assert all(row.terms for row in model.program.constraints)
    result = plan_cascade(problem, choose_solver())
    assert (result.status, result.allocation.light_workers) == (SolveStatus.OPTIMAL, 16)


def test_row_and_variable_names_are_unique():
    program = model_of(paper_problem()).program
    names = [v.name for v in program.variables]
    assert len(set(names)) == len(names)
    rows = [r.name for r in program.constraints]
    assert len(set(rows)) == len(rows)
    assert {v.kind for v in program.variables} == set(VariableKind)


def test_answers_that_are_no_plan_are_not_read():
    model = model_of(paper_problem(demand_qps=32.0))
    good = point(model, 0.469, BatchPair(4, 4))
    choice = model.choice(good)
    assert choice is not None and choice.pair == BatchPair(4, 4)
    assert model.choice({}) is None
    assert model.choice(good | {"y_0": 1.0}) is None
    assert model.choice(good | {"w_4_4": 0.4}) is None
    assert model.choice(point(model, 1.0, BatchPair(4, 4))) is None
