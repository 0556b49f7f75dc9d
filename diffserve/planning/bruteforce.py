"""Exact enumeration of the two-stage problem: test oracle, estimator and solver of last resort."""

from __future__ import annotations

from collections.abc import Callable

from diffserve.planning.allocation import (
    PlanChoice,
    batch_pairs,
    deferral_grid,
    heavy_workers_needed,
    light_workers_needed,
    needs_heavy_stage,
)
from diffserve.planning.problem import CascadeProblem


class EnumerationSolver:
    """Tries every deferral point with every pair of batch sizes, best first.

    About a millisecond for 201 points and 36 pairs. It solves ``CascadeProblem`` itself instead of
    its linear program; ``plan_cascade`` knows the difference.
    """

    name = "enumeration"

    def best_choice(self, problem: CascadeProblem) -> PlanChoice | None:
        """Return the optimal choice for a fleet that may be divided at will; None: infeasible."""
        return best_choice(problem, lambda light, heavy: light + heavy <= problem.num_workers)


def best_choice(problem: CascadeProblem, fits: Callable[[int, int], bool]) -> PlanChoice | None:
    """Return the best choice whose needed (light, heavy) workers satisfy ``fits``.

    Largest value first, then the smaller fraction, then the order of ``batch_pairs``. Pure.
    """
    pairs = batch_pairs(problem)
    light_needed = {p.light: light_workers_needed(problem, p.light) for p in pairs}
    heavy_sizes = sorted({p.heavy for p in pairs})
    for point in sorted(deferral_grid(problem), key=lambda p: (-p.value, p.fraction)):
        has_heavy = needs_heavy_stage(problem, point.fraction)
        heavy_needed = {b: heavy_workers_needed(problem, b, point.fraction) for b in heavy_sizes}
        for pair in pairs:
            if bool(pair.heavy) == has_heavy and fits(
                light_needed[pair.light], heavy_needed[pair.heavy]
            ):
                return PlanChoice(point, pair)
    return None
