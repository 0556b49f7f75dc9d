"""A mixed-integer linear program as plain values, and what a solver says about one."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from diffserve.planning.problem import SolveStatus


class VariableKind(enum.StrEnum):
    """Which values a variable may take between its bounds."""

    CONTINUOUS = "continuous"
    INTEGER = "integer"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class ProgramVariable:
    """One decision variable; bounds are finite."""

    name: str
    kind: VariableKind
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class LinearConstraint:
    """``lower <= sum(coefficient * variable) <= upper``; equal bounds make an equation."""

    name: str
    terms: Mapping[str, float]
    lower: float = -math.inf
    upper: float = math.inf


@dataclass(frozen=True, slots=True)
class MixedIntegerProgram:
    """Maximise ``objective`` over ``variables`` subject to ``constraints``.

    Attributes:
        name: Shown in solver logs and error messages.
        variables: In a fixed order, so that solvers see the same program every time.
        constraints: Each row carries the name of the equation that it states.
        objective: Variable name -> coefficient; absent variables count nothing.
        gap: Relative distance to the optimum at which a solver may stop; 0 asks for proof.
    """

    name: str
    variables: tuple[ProgramVariable, ...]
    constraints: tuple[LinearConstraint, ...]
    objective: Mapping[str, float]
    gap: float = 0.0

    @property
    def is_linear(self) -> bool:
        """Whether every variable is continuous, so that duals exist."""
        return all(v.kind is VariableKind.CONTINUOUS for v in self.variables)


@dataclass(frozen=True, slots=True)
class ProgramSolution:
    """What a solver returned.

    Attributes:
        status: How the solve ended.
        values: Variable name -> value; empty when no feasible point was found. A time-limited
            solve may hold its best point so far.
        duals: Row name -> objective gained per unit of its bound; only of linear programs, and
            where there are several, any of them.
    """

    status: SolveStatus
    values: Mapping[str, float] = field(default_factory=dict)
    duals: Mapping[str, float] = field(default_factory=dict)
