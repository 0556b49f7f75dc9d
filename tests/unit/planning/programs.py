"""Small programs with known answers, for every solver backend."""

from __future__ import annotations

from diffserve.planning.program import (
    LinearConstraint,
    MixedIntegerProgram,
    ProgramVariable,
    VariableKind,
)

KNAPSACK = MixedIntegerProgram(
    name="knapsack",
    variables=(
        ProgramVariable("x", VariableKind.INTEGER, 0.0, 5.0),
        ProgramVariable("y", VariableKind.BINARY, 0.0, 1.0),
        ProgramVariable("s", VariableKind.CONTINUOUS, 0.0, 9.0),
    ),
    constraints=(
        LinearConstraint("weight", {"x": 2.0, "y": 3.0}, lower=1.0, upper=8.0),
        LinearConstraint("total", {"x": 1.0, "y": 1.0, "s": -1.0}, 0.5, 0.5),
        LinearConstraint("free", {"x": 1.0}),
    ),
    objective={"x": 2.0, "y": 3.5},
)
"""Best: x = 4, y = 0, s = 3.5 with value 8; without integrality x = 2.5, y = 1 would have 8.5."""

INFEASIBLE = MixedIntegerProgram(
    name="infeasible",
    variables=(ProgramVariable("x", VariableKind.INTEGER, 0.0, 5.0),),
    constraints=(LinearConstraint("between", {"x": 2.0}, lower=2.5, upper=3.5),),
    objective={"x": 1.0},
)


def larger_than_the_free_licence() -> MixedIntegerProgram:
    """2,500 variables; trivial otherwise."""
    names = [f"x{i}" for i in range(2500)]
    return MixedIntegerProgram(
        name="large",
        variables=tuple(ProgramVariable(n, VariableKind.BINARY, 0.0, 1.0) for n in names),
        constraints=(LinearConstraint("half", dict.fromkeys(names, 1.0), upper=1250.0),),
        objective=dict.fromkeys(names, 1.0),
    )
