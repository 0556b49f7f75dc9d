from __future__ import annotations

import pytest

from diffserve.errors import BackendError
from diffserve.planning.problem import SolveStatus
from diffserve.planning.solver import Solver, open_gurobi
from tests.unit.planning.programs import INFEASIBLE, KNAPSACK, larger_than_the_free_licence


@pytest.fixture(scope="module")
def solver() -> Solver:
    return open_gurobi() or pytest.skip("no usable Gurobi licence")


def test_integer_optimum(solver):
    solution = solver.solve(KNAPSACK)
    assert solution.status is SolveStatus.OPTIMAL
    assert solution.values == pytest.approx({"x": 4.0, "y": 0.0, "s": 3.5})


def test_infeasible_is_a_status(solver):
    solution = solver.solve(INFEASIBLE)
    assert solution.status is SolveStatus.INFEASIBLE
    assert solution.values == {}


def test_time_limit_without_a_point_is_a_status(solver):
    assert solver.solve(KNAPSACK, 0.0).status is SolveStatus.TIME_LIMIT


def test_licence_for_smaller_programs_is_a_backend_error(solver):
    try:
        solution = solver.solve(larger_than_the_free_licence())
    except BackendError as error:
        assert "gurobi" in str(error)
    else:
        assert solution.status is SolveStatus.OPTIMAL  # a full licence is installed


def test_neither_banner_nor_log_is_printed(capfd):
    solver = open_gurobi()
    if solver is None:
        pytest.skip("no usable Gurobi licence")
    solver.solve(KNAPSACK)
    solver.close()
    assert capfd.readouterr() == ("", "")


def test_missing_licence_is_a_backend_error(monkeypatch):
    gurobi = pytest.importorskip("diffserve.planning.gurobi")

    def refuse(params: object) -> None:
        raise gurobi.gp.GurobiError(10009, "No license found")

    monkeypatch.setattr(gurobi.gp, "Env", refuse)
    with pytest.raises(BackendError, match="No license"):
        gurobi.GurobiSolver()
    assert open_gurobi() is None
