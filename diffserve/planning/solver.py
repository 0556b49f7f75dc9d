"""From problem to allocation: picks a solver, runs it, and always has an answer."""

from __future__ import annotations

from typing import Protocol

from diffserve.errors import BackendError, ConfigError
from diffserve.planning.allocation import PlanChoice, allocate, fallback_allocation
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.model import CascadeModel, build_model
from diffserve.planning.problem import CascadeProblem, SolveResult, SolveStatus
from diffserve.planning.program import (
    LinearConstraint,
    MixedIntegerProgram,
    ProgramSolution,
    ProgramVariable,
    VariableKind,
)

PREFERENCES = ("auto", "gurobi", "cbc", "enumeration")


class Solver(Protocol):
    """A MILP backend: deterministic for a given program unless a time limit cuts it short."""

    @property
    def name(self) -> str:
        """Shown in plans: ``gurobi`` or ``cbc``."""
        ...

    def solve(
        self, program: MixedIntegerProgram, time_limit_s: float | None = None
    ) -> ProgramSolution:
        """Solve; infeasible and late are statuses, ``BackendError`` is a failed backend."""
        ...


def choose_solver(preference: str = "auto") -> Solver | EnumerationSolver:
    """Return the best solver at hand: Gurobi with a usable licence, else CBC, else enumeration.

    Args:
        preference: ``auto``, or the name of the one solver wanted.

    Raises:
        ConfigError: ``preference`` is unknown, or the solver that it names is not usable.
    """
    if preference not in PREFERENCES:
        raise ConfigError(f"solver: {preference!r} is not one of {', '.join(PREFERENCES)}")
    chosen: Solver | EnumerationSolver | None = None
    if preference in ("auto", "gurobi"):
        chosen = open_gurobi()
    if preference == "cbc" or (preference == "auto" and chosen is None):
        chosen = open_cbc()
    if preference == "enumeration" or (preference == "auto" and chosen is None):
        chosen = EnumerationSolver()
    if chosen is None:
        raise ConfigError(f"solver: {preference} is not usable here")
    return chosen


def open_gurobi() -> Solver | None:
    """Return Gurobi when it is installed and a licence answers for a tiny program, else None."""
    try:
        from diffserve.planning.gurobi import GurobiSolver

        solver = GurobiSolver()
        return solver if _answers(solver) else None
    except (ImportError, OSError, BackendError):
        return None


def open_cbc() -> Solver | None:
    """Return CBC when PuLP and a CBC executable are installed, else None."""
    try:
        from diffserve.planning.cbc import CbcSolver

        return CbcSolver()
    except (ImportError, OSError, BackendError):
        return None


def _answers(solver: Solver) -> bool:
    probe = MixedIntegerProgram(
        name="probe",
        variables=(ProgramVariable("x", VariableKind.INTEGER, 0.0, 9.0),),
        constraints=(LinearConstraint("limit", {"x": 2.0}, upper=7.0),),
        objective={"x": 1.0},
    )
    return solver.solve(probe).status is SolveStatus.OPTIMAL


def plan_cascade(
    problem: CascadeProblem,
    solver: Solver | EnumerationSolver,
    time_limit_s: float | None = None,
) -> SolveResult:
    """Solve one cascade's problem. Never raises for what a solver does. Paper: §3.3.

    A backend that fails (licence, size, crash) is replaced for this call by CBC, then by exact
    enumeration; the status is then that of the best answer: ``optimal`` by CBC, ``error`` or
    ``time_limit`` when enumeration had to step in. A time-limited solve keeps its best plan so far.
    An infeasible problem gets the fallback allocation (all light, nothing deferred).

    Args:
        problem: What to solve.
        solver: From ``choose_solver``.
        time_limit_s: For live use only; a wall-clock limit makes the answer depend on the machine.
    """
    if isinstance(solver, EnumerationSolver):
        return _enumerated(problem, SolveStatus.OPTIMAL)
    model = build_model(problem)
    if model is None:
        return _infeasible(problem)
    status = SolveStatus.ERROR
    for backend in with_backup(solver):
        status, choice = _attempt(model, backend, time_limit_s)
        if status is SolveStatus.INFEASIBLE:
            return _infeasible(problem)
        if choice is not None:
            return SolveResult(
                allocation=allocate(problem, choice), status=status, solver=backend.name
            )
        if status is SolveStatus.TIME_LIMIT:
            break
    return _enumerated(problem, status)


def with_backup(solver: Solver | EnumerationSolver) -> list[Solver]:
    """Return the backends to try in turn: the given one, then CBC where it is installed."""
    if isinstance(solver, EnumerationSolver):
        backup = open_cbc()
        return [] if backup is None else [backup]
    backup = open_cbc() if solver.name != "cbc" else None
    return [solver] if backup is None else [solver, backup]


def _attempt(
    model: CascadeModel, solver: Solver, time_limit_s: float | None
) -> tuple[SolveStatus, PlanChoice | None]:
    try:
        solution = solver.solve(model.program, time_limit_s)
    except Exception:
        # Whatever a foreign library raises, the controller must go on planning.
        return SolveStatus.ERROR, None
    choice = model.choice(solution.values)
    if choice is None and solution.status is SolveStatus.OPTIMAL:
        return SolveStatus.ERROR, None
    return solution.status, choice


def _enumerated(problem: CascadeProblem, status: SolveStatus) -> SolveResult:
    solver = EnumerationSolver()
    choice = solver.best_choice(problem)
    if choice is None:
        return _infeasible(problem)
    return SolveResult(allocation=allocate(problem, choice), status=status, solver=solver.name)


def _infeasible(problem: CascadeProblem) -> SolveResult:
    return SolveResult(
        allocation=fallback_allocation(problem), status=SolveStatus.INFEASIBLE, solver="fallback"
    )
