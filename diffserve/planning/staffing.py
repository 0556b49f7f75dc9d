"""How many workers a load needs: headroom that shrinks with scale, in straight lines.

A pool of n workers with load R (worker-seconds per second) is safe at n >= R + beta sqrt(R): the
fluctuation of the work in progress grows with the square root of its mean, so a large pool needs
relatively less room (square-root staffing; Halfin and Whitt 1981). Small pools keep the fixed
utilisation of the single-cascade program, which is less than that formula asks for, because light
images may fall back and the estimate of demand has a headroom of its own:

    n >= R + min( (1 / utilisation_max - 1) R,  beta sqrt(R) )

The right-hand side is concave. A tangent of it is nowhere below it, so a program that has one
straight line per pool, a *grade*, is on the safe side whatever load it ends with; the nearer the
load is to where the tangent touches, the less room it wastes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grade:
    """A line: workers >= ``slope`` * load + ``intercept``."""

    slope: float
    intercept: float

    def workers(self, load: float) -> float:
        """Return the workers that a load needs, not rounded."""
        return self.slope * load + self.intercept if load > 0.0 else 0.0


def workers_needed(load: float, utilisation_max: float, beta: float) -> float:
    """Return R + min((1 / u - 1) R, beta sqrt(R)). Pure."""
    return load + min((1.0 / utilisation_max - 1.0) * load, beta * math.sqrt(load))


def grade_of(load: float, utilisation_max: float, beta: float) -> Grade:
    """Return the grade of a pool whose load is about the given one. Pure.

    Tangents touch at loads a factor of four apart, so that a small error in the load, as between
    two solvers, hardly ever changes the grade.
    """
    spread = 1.0 / utilisation_max - 1.0
    if load <= 0.0 or beta * math.sqrt(load) >= spread * load:
        return Grade(1.0 / utilisation_max, 0.0)
    if beta == 0.0:
        return Grade(1.0, 0.0)
    crossing = (beta / spread) ** 2
    step = max(0, round(math.log(load / crossing, 4.0)))
    touch = crossing * 4.0**step
    root = math.sqrt(touch)
    return Grade(1.0 + beta / (2.0 * root), beta * root / 2.0)


def grade_for_workers(num_workers: int, utilisation_max: float, beta: float) -> Grade:
    """Return the line through the origin and the largest load that so many workers carry. Pure.

    Where the workers are given, no tangent is needed: the limit is exact.
    """
    if num_workers == 0:
        return Grade(1.0 / utilisation_max, 0.0)
    # n = R + beta sqrt(R), solved for sqrt(R).
    root = (math.sqrt(beta * beta + 4.0 * num_workers) - beta) / 2.0
    return Grade(num_workers / max(root * root, utilisation_max * num_workers), 0.0)
