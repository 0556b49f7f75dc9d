from __future__ import annotations

import pytest

from diffserve.errors import BackendError
from diffserve.planning import cbc
from diffserve.planning.problem import SolveStatus
from diffserve.planning.solver import Solver, open_cbc
from tests.unit.planning.programs import INFEASIBLE, KNAPSACK, larger_than_the_free_licence


@pytest.fixture(scope="module")
def solver() -> Solver:
    return open_cbc() or pytest.skip("no CBC executable")


def test_integer_optimum(solver):
    solution = solver.solve(KNAPSACK)
    assert solution.status is SolveStatus.OPTIMAL
    assert solution.values == pytest.approx({"x": 4.0, "y": 0.0, "s": 3.5})


def test_infeasible_is_a_status(solver):
    solution = solver.solve(INFEASIBLE)
    assert solution.status is SolveStatus.INFEASIBLE
    assert solution.values == {}


def test_time_limit_that_is_not_reached_changes_nothing(solver):
    assert solver.solve(KNAPSACK, 100.0) == solver.solve(KNAPSACK)


def test_size_is_not_limited(solver):
    solution = solver.solve(larger_than_the_free_licence())
    assert sum(solution.values.values()) == pytest.approx(1250.0)


def test_nothing_is_printed(solver, capfd):
    solver.solve(KNAPSACK)
    assert capfd.readouterr() == ("", "")


def test_broken_executable_is_a_backend_error(solver, monkeypatch):
    monkeypatch.setattr(solver, "_path", "/nonexistent/cbc")
    with pytest.raises(BackendError, match="cbc"):
        solver.solve(KNAPSACK)


def test_missing_executable_is_a_backend_error(monkeypatch):
    monkeypatch.setattr(cbc.pulp.COIN_CMD, "available", lambda self: False)
    with pytest.raises(BackendError, match="no executable"):
        cbc.CbcSolver()
    assert open_cbc() is None


@pytest.mark.parametrize(
    ("status", "sol_status", "expected"),
    [
        ("LpStatusOptimal", "LpSolutionOptimal", SolveStatus.OPTIMAL),
        ("LpStatusOptimal", "LpSolutionIntegerFeasible", SolveStatus.TIME_LIMIT),
        ("LpStatusNotSolved", "LpSolutionNoSolutionFound", SolveStatus.TIME_LIMIT),
        ("LpStatusInfeasible", "LpSolutionInfeasible", SolveStatus.INFEASIBLE),
        ("LpStatusInfeasible", "LpSolutionNoSolutionFound", SolveStatus.INFEASIBLE),
        ("LpStatusUndefined", "LpSolutionNoSolutionFound", SolveStatus.ERROR),
        ("LpStatusUnbounded", "LpSolutionUnbounded", SolveStatus.ERROR),
    ],
)
def test_both_status_words_of_pulp_are_read(solver, monkeypatch, status, sol_status, expected):
    def stop(problem: cbc.pulp.LpProblem, command: object) -> None:
        problem.assignVarsVals(dict.fromkeys(["x", "y", "s"], 0.0))
        problem.assignStatus(getattr(cbc.pulp, status), getattr(cbc.pulp, sol_status))

    monkeypatch.setattr(cbc.pulp.LpProblem, "solve", stop)
    assert solver.solve(KNAPSACK).status is expected
