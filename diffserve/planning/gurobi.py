"""Gurobi as a solver backend; optional, the user brings the licence."""

from __future__ import annotations

import gurobipy as gp

from diffserve.errors import BackendError
from diffserve.planning.problem import SolveStatus
from diffserve.planning.program import (
    MixedIntegerProgram,
    ProgramSolution,
    ProgramVariable,
    VariableKind,
)

_TYPES = {
    VariableKind.CONTINUOUS: gp.GRB.CONTINUOUS,
    VariableKind.INTEGER: gp.GRB.INTEGER,
    VariableKind.BINARY: gp.GRB.BINARY,
}
_STATUSES = {
    gp.GRB.OPTIMAL: SolveStatus.OPTIMAL,
    gp.GRB.INFEASIBLE: SolveStatus.INFEASIBLE,
    gp.GRB.INF_OR_UNBD: SolveStatus.INFEASIBLE,
    gp.GRB.TIME_LIMIT: SolveStatus.TIME_LIMIT,
}
_PARAMETERS = {
    # Set before the environment starts: the licence banner must not reach standard output.
    "OutputFlag": 0,
    "LogToConsole": 0,
    # One thread, one seed, no gap: the same program always gives the same answer.
    "Threads": 1,
    "Seed": 0,
    "MIPGap": 0.0,
    "MIPGapAbs": 0.0,
    "IntFeasTol": 1e-9,
}


class GurobiSolver:
    """Solves programs in one Gurobi environment. Not for concurrent use.

    Raises:
        BackendError: No licence answers (error 10009), or the environment cannot start.
    """

    name = "gurobi"

    def __init__(self) -> None:
        try:
            self._env = gp.Env(params=_PARAMETERS)
        except gp.GurobiError as error:
            raise BackendError(f"gurobi: {error}") from error

    def solve(
        self, program: MixedIntegerProgram, time_limit_s: float | None = None
    ) -> ProgramSolution:
        """Solve to proven optimality, or to the time limit when there is one.

        Raises:
            BackendError: Gurobi failed; error 10010 means that the licence is for smaller programs.
        """
        try:
            with gp.Model(program.name, env=self._env) as model:
                model.setParam("MIPGap", program.gap)
                if time_limit_s is not None:
                    model.setParam("TimeLimit", time_limit_s)
                variables = {v.name: _add_variable(model, v) for v in program.variables}
                _add_rows(model, program, variables)
                model.optimize()
                return _read(model, program, variables)
        except gp.GurobiError as error:
            raise BackendError(f"gurobi: {error}") from error

    def close(self) -> None:
        """Release the licence; the solver is not usable afterwards."""
        self._env.dispose()


def _add_variable(model: gp.Model, variable: ProgramVariable) -> gp.Var:
    return model.addVar(
        lb=variable.lower, ub=variable.upper, vtype=_TYPES[variable.kind], name=variable.name
    )


def _add_rows(model: gp.Model, program: MixedIntegerProgram, variables: dict[str, gp.Var]) -> None:
    for row in program.constraints:
        left = gp.LinExpr([(c, variables[name]) for name, c in row.terms.items()])
        if row.lower == row.upper:
            model.addLConstr(left, gp.GRB.EQUAL, row.lower, name=row.name)
            continue
        if row.lower > -gp.GRB.INFINITY:
            model.addLConstr(left, gp.GRB.GREATER_EQUAL, row.lower, name=row.name)
        if row.upper < gp.GRB.INFINITY:
            model.addLConstr(left, gp.GRB.LESS_EQUAL, row.upper, name=row.name)
    goal = gp.LinExpr([(c, variables[name]) for name, c in program.objective.items()])
    model.setObjective(goal, gp.GRB.MAXIMIZE)


def _read(
    model: gp.Model, program: MixedIntegerProgram, variables: dict[str, gp.Var]
) -> ProgramSolution:
    status = _STATUSES.get(model.Status, SolveStatus.ERROR)
    if model.SolCount == 0:
        return ProgramSolution(status)
    values = {name: float(v.X) for name, v in variables.items()}
    duals: dict[str, float] = {}
    if program.is_linear:
        duals = {row.name: 0.0 for row in program.constraints}
        for row in model.getConstrs():
            duals[row.ConstrName] += float(row.Pi)
    return ProgramSolution(status, values, duals)
