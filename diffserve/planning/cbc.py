"""CBC through PuLP as a solver backend: the open default."""

from __future__ import annotations

import math

import pulp

from diffserve.errors import BackendError
from diffserve.planning.problem import SolveStatus
from diffserve.planning.program import LinearConstraint, MixedIntegerProgram, ProgramSolution

_CATEGORIES = {"continuous": "Continuous", "integer": "Integer", "binary": "Binary"}


class CbcSolver:
    """Runs the CBC binary that PuLP bundles, else the ``cbc`` on the search path.

    Raises:
        BackendError: There is no CBC that can be executed.
    """

    name = "cbc"

    def __init__(self) -> None:
        # COIN_CMD with the bundled path is PULP_CBC_CMD without its deprecation.
        paths = (pulp.PULP_CBC_CMD.pulp_cbc_path, "cbc")
        usable = [path for path in paths if pulp.COIN_CMD(path=path, msg=False).available()]
        if not usable:
            raise BackendError("cbc: no executable found")
        self._path = usable[0]

    def solve(
        self, program: MixedIntegerProgram, time_limit_s: float | None = None
    ) -> ProgramSolution:
        """Solve to proven optimality, or to the time limit when there is one.

        Raises:
            BackendError: The CBC process failed.
        """
        command = pulp.COIN_CMD(
            path=self._path,
            msg=False,
            threads=1,
            gapRel=0.0,
            gapAbs=0.0,
            timeLimit=time_limit_s,
            options=["integerT 1e-9"],
        )
        problem = _translate(program)
        try:
            problem.solve(command)
        except (pulp.PulpError, OSError) as error:
            raise BackendError(f"cbc: {error}") from error
        return _read(problem)


def _translate(program: MixedIntegerProgram) -> pulp.LpProblem:
    problem = pulp.LpProblem(program.name, pulp.LpMaximize)
    variables = {
        v.name: problem.add_variable(v.name, v.lower, v.upper, cat=_CATEGORIES[v.kind])
        for v in program.variables
    }
    goal = [(variables[name], c) for name, c in program.objective.items()]
    problem.setObjective(pulp.LpAffineExpression(goal))
    for row in program.constraints:
        left = pulp.LpAffineExpression([(variables[name], c) for name, c in row.terms.items()])
        for suffix, sense, bound in _sides(row):
            problem.addConstraint(
                pulp.LpConstraint(left, sense=sense, rhs=bound, name=row.name + suffix)
            )
    return problem


def _sides(row: LinearConstraint) -> list[tuple[str, int, float]]:
    if row.lower == row.upper:
        return [("", pulp.LpConstraintEQ, row.lower)]
    sides = []
    if row.lower > -math.inf:
        sides.append(("_min", pulp.LpConstraintGE, row.lower))
    if row.upper < math.inf:
        sides.append(("_max", pulp.LpConstraintLE, row.upper))
    return sides


def _read(problem: pulp.LpProblem) -> ProgramSolution:
    """Translate PuLP's two status words; "optimal" there includes "best so far"."""
    if problem.sol_status == pulp.LpSolutionOptimal:
        status = SolveStatus.OPTIMAL
    elif problem.status == pulp.LpStatusInfeasible:
        return ProgramSolution(SolveStatus.INFEASIBLE)
    elif problem.sol_status == pulp.LpSolutionIntegerFeasible:
        status = SolveStatus.TIME_LIMIT
    elif problem.status == pulp.LpStatusNotSolved:
        return ProgramSolution(SolveStatus.TIME_LIMIT)
    else:
        return ProgramSolution(SolveStatus.ERROR)
    return ProgramSolution(status, {v.name: float(v.varValue) for v in problem.variables()})
