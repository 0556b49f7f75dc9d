from __future__ import annotations

import dataclasses
import math

import pytest

from diffserve.planning.problem import SolveStatus
from diffserve.planning.program import LinearConstraint, ProgramSolution


def test_rows_are_open_on_both_sides_unless_told():
    row = LinearConstraint("row", {"x": 1.0})
    assert (row.lower, row.upper) == (-math.inf, math.inf)


def test_solutions_without_a_point_have_no_values():
    assert ProgramSolution(SolveStatus.INFEASIBLE).values == {}


def test_values_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ProgramSolution(SolveStatus.OPTIMAL).status = SolveStatus.ERROR
