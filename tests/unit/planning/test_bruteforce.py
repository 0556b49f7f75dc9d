from __future__ import annotations

from diffserve.planning.allocation import (
    BatchPair,
    deferral_grid,
    heavy_workers_needed,
    light_workers_needed,
)
from diffserve.planning.bruteforce import EnumerationSolver, best_choice
from diffserve.planning.problem import CascadeProblem, Objective
from diffserve.profiles.curves import QualityCurve
from tests.paper.cascades import paper_problem


def by_hand(problem: CascadeProblem) -> tuple[float, float, int, int] | None:
    """The quality problem written down once more, as one loop over everything on offer."""
    plans = []
    for fraction in [point.fraction for point in deferral_grid(problem)]:
        for b1, e1 in problem.light.seconds_by_batch.items():
            for b2, e2 in [(0, 0.0), *problem.heavy.seconds_by_batch.items()]:
                wait_s = problem.light_wait_s + (problem.heavy_wait_s if b2 else 0.0)
                workers = light_workers_needed(problem, b1)
                workers += heavy_workers_needed(problem, b2, fraction) if b2 else 0
                if (
                    (fraction > 0) == (b2 > 0)
                    and e1 + e2 + wait_s <= problem.slo_s
                    and workers <= problem.num_workers
                ):
                    quality = problem.quality.quality_at(fraction)
                    plans.append((-quality, fraction, round(e1 + e2, 9), b1, b2))
    if not plans:
        return None
    quality, fraction, _, b1, b2 = min(plans)
    return -quality, fraction, b1, b2


def test_enumeration_finds_what_a_naive_loop_finds():
    for num_workers in (0, 1, 2, 4, 16):
        for demand_qps in (0.0, 3.0, 17.0, 60.0):
            problem = paper_problem(
                num_workers=num_workers,
                demand_qps=demand_qps,
                objective=Objective.QUALITY,
                utilisation_max=0.9,
                light_wait_s=0.2,
                heavy_wait_s=0.4,
            )
            choice = EnumerationSolver().best_choice(problem)
            found = choice and (
                choice.point.value,
                choice.point.fraction,
                choice.pair.light,
                choice.pair.heavy,
            )
            assert found == by_hand(problem)


def test_equal_quality_defers_less():
    flat = QualityCurve((0.0, 0.3, 1.0), (0.0, 1.0, 1.0), "test")
    problem = paper_problem(objective=Objective.QUALITY, quality=flat, demand_qps=1.0)
    choice = best_choice(problem, lambda light, heavy: True)
    assert choice is not None
    assert choice.point.fraction == min(f for f in problem.deferral.fractions if f >= 0.3)
    assert choice.pair == BatchPair(1, 1)


def test_counts_may_be_fixed():
    problem = paper_problem(demand_qps=4.0)
    choice = best_choice(problem, lambda light, heavy: light <= 1 and heavy <= 2)
    assert choice is not None
    needed = heavy_workers_needed(problem, choice.pair.heavy, choice.point.fraction)
    assert needed == 2
    assert best_choice(problem, lambda light, heavy: False) is None
