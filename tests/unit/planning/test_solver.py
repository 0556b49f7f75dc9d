from __future__ import annotations

import sys

import pytest

from diffserve.errors import BackendError, ConfigError
from diffserve.planning import solver as solver_module
from diffserve.planning.allocation import fallback_allocation
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.problem import Objective, SolveStatus
from diffserve.planning.program import MixedIntegerProgram, ProgramSolution
from diffserve.planning.solver import (
    choose_solver,
    open_cbc,
    open_gurobi,
    plan_cascade,
    with_backup,
)
from tests.paper.cascades import paper_problem

PROBLEM = paper_problem(objective=Objective.QUALITY)
EXACT = plan_cascade(PROBLEM, EnumerationSolver())


class FakeSolver:
    """Answers what it is told to, or raises it."""

    name = "fake"

    def __init__(self, answer: ProgramSolution | Exception) -> None:
        self._answer = answer

    def solve(
        self, program: MixedIntegerProgram, time_limit_s: float | None = None
    ) -> ProgramSolution:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.fixture
def without_cbc(monkeypatch):
    monkeypatch.setattr(solver_module, "open_cbc", lambda: None)


def test_enumeration_is_a_solver():
    assert EXACT.solver == "enumeration"
    assert EXACT.status is SolveStatus.OPTIMAL


@pytest.mark.parametrize(
    "answer",
    [
        BackendError("gurobi: Model too large for size-limited license (10010)"),
        RuntimeError("crash"),
        ProgramSolution(SolveStatus.ERROR),
        ProgramSolution(SolveStatus.OPTIMAL, {"y_0": 1.0}),
    ],
    ids=["licence", "crash", "error", "nonsense"],
)
def test_failed_backend_is_replaced_by_cbc(answer):
    if open_cbc() is None:
        pytest.skip("no CBC executable")
    result = plan_cascade(PROBLEM, FakeSolver(answer))
    assert result.solver == "cbc"
    assert result.status is SolveStatus.OPTIMAL
    assert result.allocation == EXACT.allocation


def test_enumeration_steps_in_when_every_backend_fails(without_cbc):
    result = plan_cascade(PROBLEM, FakeSolver(BackendError("broken")))
    assert (result.solver, result.status) == ("enumeration", SolveStatus.ERROR)
    assert result.allocation == EXACT.allocation


def test_late_solve_without_a_plan_is_enumerated():
    result = plan_cascade(PROBLEM, FakeSolver(ProgramSolution(SolveStatus.TIME_LIMIT)), 0.1)
    assert (result.solver, result.status) == ("enumeration", SolveStatus.TIME_LIMIT)
    assert result.allocation == EXACT.allocation


def test_late_solve_keeps_its_best_plan_so_far():
    incumbent = {"y_0": 1.0, "w_4_0": 1.0}
    answer = ProgramSolution(SolveStatus.TIME_LIMIT, incumbent)
    result = plan_cascade(PROBLEM, FakeSolver(answer), 0.1)
    assert (result.solver, result.status) == ("fake", SolveStatus.TIME_LIMIT)
    assert result.allocation.deferral_fraction == 0.0
    assert result.allocation.light_batch_size == 4


def test_infeasible_by_the_solver_is_the_fallback():
    result = plan_cascade(PROBLEM, FakeSolver(ProgramSolution(SolveStatus.INFEASIBLE)))
    assert (result.solver, result.status) == ("fallback", SolveStatus.INFEASIBLE)
    assert result.allocation == fallback_allocation(PROBLEM)


@pytest.mark.parametrize("num_workers", [0, 1, 2, 16])
@pytest.mark.parametrize("objective", list(Objective))
def test_overload_is_the_fallback_for_every_fleet(num_workers, objective):
    problem = paper_problem(num_workers=num_workers, demand_qps=1e6, objective=objective)
    for solver in (EnumerationSolver(), FakeSolver(BackendError("broken"))):
        result = plan_cascade(problem, solver)
        assert (result.solver, result.status) == ("fallback", SolveStatus.INFEASIBLE)
        assert result.allocation == fallback_allocation(problem)


def test_waits_beyond_the_slo_need_no_solver():
    problem = paper_problem(light_wait_s=7.0)
    result = plan_cascade(problem, FakeSolver(RuntimeError("must not be called")))
    assert result.status is SolveStatus.INFEASIBLE


def test_one_worker_serves_light():
    problem = paper_problem(num_workers=1, demand_qps=4.0, objective=Objective.QUALITY)
    result = plan_cascade(problem, EnumerationSolver())
    assert result.status is SolveStatus.OPTIMAL
    assert (result.allocation.light_workers, result.allocation.heavy_workers) == (1, 0)


def test_automatic_choice_prefers_gurobi_then_cbc_then_enumeration(monkeypatch):
    gurobi, cbc = FakeSolver(BackendError("")), FakeSolver(BackendError(""))
    monkeypatch.setattr(solver_module, "open_gurobi", lambda: gurobi)
    monkeypatch.setattr(solver_module, "open_cbc", lambda: cbc)
    assert choose_solver() is gurobi
    assert choose_solver("cbc") is cbc
    monkeypatch.setattr(solver_module, "open_gurobi", lambda: None)
    assert choose_solver() is cbc
    monkeypatch.setattr(solver_module, "open_cbc", lambda: None)
    assert isinstance(choose_solver(), EnumerationSolver)
    assert isinstance(choose_solver("enumeration"), EnumerationSolver)


@pytest.mark.parametrize("name", ["gurobi", "cbc"])
def test_solver_asked_for_by_name_must_be_usable(monkeypatch, name):
    monkeypatch.setattr(solver_module, f"open_{name}", lambda: None)
    with pytest.raises(ConfigError, match=f"{name} is not usable"):
        choose_solver(name)


def test_unknown_solver_is_refused():
    with pytest.raises(ConfigError, match="'glpk' is not one of auto, gurobi"):
        choose_solver("glpk")


def test_missing_packages_are_no_error(monkeypatch):
    for name in ("gurobipy", "pulp", "diffserve.planning.gurobi", "diffserve.planning.cbc"):
        monkeypatch.setitem(sys.modules, name, None)
    assert open_gurobi() is None
    assert open_cbc() is None
    assert isinstance(choose_solver(), EnumerationSolver)


def test_enumeration_is_replaced_by_cbc_for_joint_programs(monkeypatch):
    assert [b.name for b in with_backup(EnumerationSolver())] in (["cbc"], [])
    monkeypatch.setattr(solver_module, "open_cbc", lambda: None)
    assert with_backup(EnumerationSolver()) == []
