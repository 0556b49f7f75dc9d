"""The choices open to a plan, the workers they need, and the allocation they make.

The MILP and the enumeration share these definitions, so what is feasible is decided once, in exact
integer worker counts, and never by a solver's feasibility tolerance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from diffserve.planning.problem import Allocation, CascadeProblem, Objective
from diffserve.profiles.curves import interpolate
from diffserve.profiles.latency import LatencyProfile

GAP_MAX = 0.02
"""Widest gap between shares with the quality objective."""
STRETCH_MAX = 3.0
"""Most by which load balancers may exceed the planned share where capacity allows."""
GRID_POINTS_MAX = 256
BATCH_SIZES_MAX = 16
"""With these two limits a program stays below 700 variables and 150 rows, far below the 2,000 that
Gurobi's bundled licence allows."""

_TOLERANCE = 1e-9

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class DeferralPoint:
    """A point of the planner's grid.

    Attributes:
        fraction: f, share of light images deferred.
        threshold: t, the largest threshold that defers ``fraction``.
        value: Objective there.
    """

    fraction: float
    threshold: float
    value: float


@dataclass(frozen=True, slots=True)
class BatchPair:
    """Batch sizes of the two stages.

    Attributes:
        light: b1.
        heavy: b2; 0 stands for "no heavy stage".
    """

    light: int
    heavy: int


@dataclass(frozen=True, slots=True)
class PlanChoice:
    """What a solver decides; everything else of an allocation follows from it."""

    point: DeferralPoint
    pair: BatchPair


def deferral_grid(problem: CascadeProblem) -> tuple[DeferralPoint, ...]:
    """Return the points to choose from, by ascending fraction; the first defers nothing.

    Of the thresholds with equal fraction only the largest is kept: it dominates in both
    objectives. A profile that starts above 0 gets the point (0, 0): no confidence is below 0.

    Deferral is by percentile, so any share can be had. The published threshold has no points
    between shares of 0 and 0.14 of its first cascade, which in overload is the difference between
    some heavy answers and none; the quality objective gets points in such gaps.
    """
    by_fraction = {0.0: 0.0}
    profile = problem.deferral
    for threshold, fraction in zip(profile.thresholds, profile.fractions, strict=True):
        if fraction <= problem.deferral_fraction_max + _TOLERANCE:
            by_fraction[fraction] = threshold
    points = sorted(by_fraction.items())
    if problem.objective is Objective.QUALITY:
        limit = problem.deferral_fraction_max
        if points[-1][0] < limit < profile.fractions[-1]:
            points.append((limit, interpolate(profile.fractions, profile.thresholds, limit)))
        points = _without_gaps(points)
    return tuple(
        DeferralPoint(fraction, threshold, _value(problem, fraction, threshold))
        for fraction, threshold in thin(points, GRID_POINTS_MAX)
    )


def _without_gaps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Insert evenly spaced points wherever fractions are more than ``GAP_MAX`` apart."""
    filled = [points[0]]
    for (low, start), (high, end) in itertools.pairwise(points):
        count = math.ceil((high - low) / GAP_MAX - _TOLERANCE)
        for step in range(1, count):
            share = step / count
            filled.append((low + share * (high - low), start + share * (end - start)))
        filled.append((high, end))
    return filled


def _value(problem: CascadeProblem, fraction: float, threshold: float) -> float:
    if problem.objective is Objective.THRESHOLD:
        return threshold
    return problem.quality.quality_at(fraction)


def thin(items: Sequence[_T], limit: int) -> list[_T]:
    """Keep at most ``limit`` items, evenly spaced, with the first and the last."""
    if len(items) <= limit:
        return list(items)
    if limit == 1:
        return [items[len(items) // 2]]
    return [items[round(i * (len(items) - 1) / (limit - 1))] for i in range(limit)]


def batch_pairs(problem: CascadeProblem) -> tuple[BatchPair, ...]:
    """Return the pairs of batch sizes that meet the SLO, in the order of preference.

    Fastest first, by execution time to the nanosecond (sums of equal parts must not differ by
    rounding), then the smaller light and heavy batch. A pair without heavy stage is offered only
    where the objective is quality; see ``needs_heavy_stage``.
    """
    lights = thin(problem.light.batch_sizes, BATCH_SIZES_MAX)
    heavies = thin(problem.heavy.batch_sizes, BATCH_SIZES_MAX)
    if problem.objective is Objective.QUALITY:
        heavies = [0, *heavies]
    ranked = []
    for light in lights:
        for heavy in heavies:
            pair = BatchPair(light, heavy)
            if response_s(problem, pair) <= problem.slo_s + _TOLERANCE:
                ranked.append((round(execution_s(problem, pair), 9), light, heavy, pair))
    return tuple(entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:3]))


def execution_s(problem: CascadeProblem, pair: BatchPair) -> float:
    """Return e_light(b1) + e_heavy(b2), the heavy part only where there is a heavy stage."""
    heavy_s = problem.heavy.execution_s(pair.heavy) if pair.heavy else 0.0
    return problem.light.execution_s(pair.light) + heavy_s


def response_s(problem: CascadeProblem, pair: BatchPair) -> float:
    """Return execution plus expected waits of a deferred query. Paper: §3.3 (latency)."""
    heavy_wait_s = problem.heavy_wait_s if pair.heavy else 0.0
    return execution_s(problem, pair) + problem.light_wait_s + heavy_wait_s


def needs_heavy_stage(problem: CascadeProblem, fraction: float) -> bool:
    """Tell whether a plan that defers ``fraction`` must provide for a heavy stage.

    The paper charges the heavy batch and its wait to the SLO whatever the threshold, even when
    nothing is deferred (threshold objective: kept as published). With the quality objective a plan
    that defers nothing has no heavy stage: no workers, no batch size, no share of the SLO. So a
    fleet too slow for the heavy variant still serves light images.
    """
    return fraction > 0.0 or problem.objective is Objective.THRESHOLD


def light_workers_needed(problem: CascadeProblem, batch_size: int) -> int:
    """Return the fewest light workers that carry the demand; at least 1, every query starts there.

    Paper: §3.3 (x1 T_light(b1) >= D).
    """
    return _workers_needed(problem, problem.light, batch_size, problem.demand_qps)


def heavy_workers_needed(problem: CascadeProblem, batch_size: int, fraction: float) -> int:
    """Return the fewest heavy workers that carry the deferred share; 0 where nothing is deferred.

    Paper: §3.3 (x2 T_heavy(b2) >= D f(t)).
    """
    if fraction == 0.0 or batch_size == 0:
        return 0
    return _workers_needed(problem, problem.heavy, batch_size, problem.demand_qps * fraction)


def _workers_needed(
    problem: CascadeProblem, profile: LatencyProfile, batch_size: int, rate_qps: float
) -> int:
    capacity_qps = profile.throughput_qps(batch_size) * problem.utilisation_max
    # The tolerance forgives rounding only: 3.0000000000000004 workers are 3.
    return max(1, math.ceil(rate_qps / capacity_qps - _TOLERANCE))


def spread_surplus(problem: CascadeProblem, choice: PlanChoice) -> tuple[int, int]:
    """Return (light, heavy) worker counts that use the whole fleet.

    Both pools get what they need; each worker left over goes to the pool with less capacity
    relative to its load, the light one on a tie. Loads are 1 and f per query, so the answer is the
    same for any demand, zero included.
    """
    fraction, pair = choice.point.fraction, choice.pair
    light = light_workers_needed(problem, pair.light)
    heavy = heavy_workers_needed(problem, pair.heavy, fraction)
    if heavy == 0:
        return problem.num_workers, 0
    light_headroom = problem.light.throughput_qps(pair.light) * fraction
    heavy_headroom = problem.heavy.throughput_qps(pair.heavy)
    for _ in range(problem.num_workers - light - heavy):
        if light * light_headroom <= heavy * heavy_headroom:
            light += 1
        else:
            heavy += 1
    return light, heavy


def allocate(problem: CascadeProblem, choice: PlanChoice) -> Allocation:
    """Turn a feasible choice into the allocation that every backend returns for it."""
    light, heavy = spread_surplus(problem, choice)
    return Allocation(
        light_workers=light,
        light_batch_size=choice.pair.light,
        heavy_workers=heavy,
        heavy_batch_size=max(1, choice.pair.heavy),
        deferral_fraction=choice.point.fraction,
        confidence_threshold=choice.point.threshold,
        value=choice.point.value,
    )


def batch_caps(problem: CascadeProblem, allocation: Allocation) -> BatchPair:
    """Return the largest batches that load balancers may form under an allocation.

    The batch sizes of the allocation are the fastest ones that carry the planned demand. A burst
    needs the most productive ones: those of largest throughput of which a light and a heavy one
    still fit the SLO, heavy first, because it is scarce. Load balancers form batches from what
    waits, so the larger caps cost nothing while nothing waits. With the paper's objective the
    batch sizes are the paper's.
    """
    planned = BatchPair(allocation.light_batch_size, allocation.heavy_batch_size)
    if problem.objective is Objective.THRESHOLD:
        return planned
    left_s = problem.slo_s - problem.light.execution_s(planned.light)
    heavy = most_productive(problem.heavy, left_s, planned.heavy)
    if allocation.heavy_workers:
        left_s = problem.slo_s - problem.heavy.execution_s(heavy)
    else:
        left_s = problem.slo_s - problem.light_wait_s
    return BatchPair(most_productive(problem.light, left_s, planned.light), heavy)


def most_productive(profile: LatencyProfile, limit_s: float, planned: int) -> int:
    """Return the measured batch size of largest throughput within a time, else the planned one."""
    fitting = [b for b in profile.batch_sizes if profile.execution_s(b) <= limit_s + _TOLERANCE]
    return max([planned, *fitting], key=lambda size: (profile.throughput_qps(size), -size))


def deferral_target(problem: CascadeProblem, allocation: Allocation) -> float:
    """Return the share that load balancers shall defer while the heavy stage keeps up.

    What the plan provides for carries its headroom for bursts; between bursts the same workers
    serve more. Load balancers see their queues and price deferrals by them (``policy.prices``), so
    they get the share that is best for quality, but no more than ``STRETCH_MAX`` times what is
    planned: in a lasting overload they need not find out by themselves how little is bearable.
    """
    if problem.objective is Objective.THRESHOLD:
        return allocation.deferral_fraction
    stretched = STRETCH_MAX * allocation.deferral_fraction
    return max(allocation.deferral_fraction, min(problem.quality.best_fraction, stretched))


def fallback_allocation(problem: CascadeProblem) -> Allocation:
    """Return the plan for a problem without a feasible one: all light, nothing deferred.

    Quality is shed, not load: the light batch of largest throughput that fits the SLO, or a batch
    of 1 when none does. What even that cannot carry is refused by admission control.
    """
    light = problem.light
    fitting = [
        size
        for size in light.batch_sizes
        if light.execution_s(size) + problem.light_wait_s <= problem.slo_s + _TOLERANCE
    ]
    best = max(fitting, key=lambda size: (light.throughput_qps(size), -size), default=1)
    point = deferral_grid(problem)[0]
    return Allocation(
        light_workers=problem.num_workers,
        light_batch_size=best,
        heavy_workers=0,
        heavy_batch_size=1,
        deferral_fraction=point.fraction,
        confidence_threshold=point.threshold,
        value=point.value,
    )
