"""CBC through PuLP as a solver backend: the open default."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pulp

from diffserve.errors import BackendError
from diffserve.planning.problem import SolveStatus
from diffserve.planning.program import LinearConstraint, MixedIntegerProgram, ProgramSolution

SMALL = 300
"""Variables up to which a search is over before preprocessing and heuristics would be."""
_DIRECT = ("preprocess off", "heuristicsOnOff off")
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
        """Solve to proven optimality or the program's gap, or to the time limit if there is one.

        Raises:
            BackendError: The CBC process failed.
        """
        if len(program.variables) <= SMALL:
            try:
                return self._run(program, time_limit_s, _DIRECT)
            except BackendError:
                # Without preprocessing, CBC fails on some programs that it should call infeasible.
                pass
        return self._run(program, time_limit_s, ())

    def _run(
        self, program: MixedIntegerProgram, time_limit_s: float | None, options: Sequence[str]
    ) -> ProgramSolution:
        command = pulp.COIN_CMD(
            path=self._path,
            msg=False,
            # "-threads 1" would start a worker thread, whose wake-ups CBC loses at times: a solve
            # then hangs for ten seconds, whatever its limit. Without it there is one thread too.
            threads=None,
            gapRel=program.gap,
            gapAbs=0.0,
            timeLimit=time_limit_s,
            options=["integerT 1e-9", *options],
        )
        problem = _translate(program)
        try:
            problem.solve(command)
        except (pulp.PulpError, OSError) as error:
            raise BackendError(f"cbc: {error}") from error
        return _read(problem, program)


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


def _read(problem: pulp.LpProblem, program: MixedIntegerProgram) -> ProgramSolution:
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
    values = {v.name: float(v.varValue) for v in problem.variables()}
    return ProgramSolution(status, values, _duals(problem, program) if program.is_linear else {})


def _duals(problem: pulp.LpProblem, program: MixedIntegerProgram) -> dict[str, float]:
    duals: dict[str, float] = {}
    for row in program.constraints:
        sides = (
            problem.get_constraint_by_name(row.name + suffix).pi for suffix, _, _ in _sides(row)
        )
        duals[row.name] = sum(float(pi) for pi in sides if pi is not None)
    return duals
