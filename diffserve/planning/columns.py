"""The columns of the joint program: who serves a class, where, in which batches, how it is routed.

A column is a route with a routing point. A route names the pools (variant, place, batch size) that
a cascade's two stages may use such that every path meets the deadline, expected waits included.
What is infeasible never exists, so the program needs no row for deadlines and no product of batch
size and workers.

Routes differ in how the deadline is divided between the stages: within its part, each stage takes
at each place the batch size of largest throughput. Of the divisions only those are kept that are
not worse than another at every place, of the routing points only those that are best at some ratio
of the stages' prices. So realistic problems stay below 2,000 variables and rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffserve.planning.allocation import thin
from diffserve.planning.fleet_problem import (
    Candidate,
    ClassProblem,
    FleetProblem,
    Place,
    RoutingPoint,
)

SPLITS_MAX = 3
"""Divisions of the deadline per cascade; fewer where the program would get too large."""
VARIABLES_MAX = 1800
"""Columns and flows together; the licence that comes with Gurobi allows 2,000 variables."""
PAIRED_WORKERS_MAX = 64
"""Larger groups of devices do without time-shared workers: whole workers divide well enough."""
PRICE_RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Prices of light against heavy work for which the best points are kept."""

_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Pool:
    """Workers of a place that run a variant at a batch size.

    Attributes:
        variant_id: What runs.
        place: Where.
        batch_size: How many at a time.
        work_s: Worker-seconds per query in full batches.
    """

    variant_id: str
    place: Place
    batch_size: int
    work_s: float


@dataclass(frozen=True, slots=True)
class Route:
    """Pools that serve the queries of a class by one cascade, and the points to choose from.

    Attributes:
        class_index: In ``FleetProblem.classes``.
        cascade_id: Which candidate.
        lights: Pools for light work; at most one per place, none if no point has any.
        heavies: Pools for heavy work.
        points: Routing points, a column each.
    """

    class_index: int
    cascade_id: str
    lights: tuple[Pool, ...]
    heavies: tuple[Pool, ...]
    points: tuple[RoutingPoint, ...]


def places(problem: FleetProblem) -> tuple[Place, ...]:
    """Return what workers can be, in a fixed order: one base each, and allowed pairs."""
    found: set[Place] = set()
    for device in problem.devices:
        allowed = problem.pairs.get(device, frozenset())
        if problem.devices[device] > PAIRED_WORKERS_MAX:
            allowed = frozenset()
        for candidate in (c for group in problem.classes for c in group.candidates):
            bases = [
                problem.base(v)
                for v in (candidate.light, candidate.heavy)
                if (v, device) in problem.latency
            ]
            found.update(Place(device, (base,)) for base in bases)
            pair = tuple(sorted(set(bases)))
            if pair in allowed:
                found.add(Place(device, pair))
    return tuple(sorted(found))


def routes(problem: FleetProblem) -> tuple[Route, ...]:
    """Return all routes of a problem. Pure.

    Every class has at least one: where nothing meets the deadline, the fastest light pools without
    regard to it (queries that can wait longer are served, others refused at the door).
    """
    where = places(problem)
    for splits_max in range(SPLITS_MAX, 0, -1):
        found: list[Route] = []
        for index, group in enumerate(problem.classes):
            of_class: list[Route] = []
            for candidate in group.candidates:
                of_class += _candidate_routes(problem, index, candidate, where, splits_max)
            found += of_class or _last_resort(problem, index, group, where)
        if _num_variables(found) <= VARIABLES_MAX:
            break
    return _thinned(found)


def _num_variables(found: Sequence[Route]) -> int:
    return sum(len(r.points) + len(r.lights) + len(r.heavies) for r in found)


def _candidate_routes(
    problem: FleetProblem,
    index: int,
    candidate: Candidate,
    where: Sequence[Place],
    splits_max: int,
) -> list[Route]:
    slo_s = problem.classes[index].slo_s
    options = _Options(problem, candidate, slo_s, where)
    found = []
    for part in ("light", "heavy"):
        # A path of one stage has the whole deadline for it.
        single = [p for p in candidate.points if _is_only(p, part)]
        pools = options.best(part, slo_s)
        if single and pools:
            lights, heavies = (pools, ()) if part == "light" else ((), pools)
            point = max(single, key=lambda p: p.value)
            found.append(Route(index, candidate.cascade_id, lights, heavies, (point,)))
    points = candidate.points
    is_both = [p.light_visits > 0.0 and p.heavy_visits > 0.0 for p in points]
    for lights, heavies in thin(options.splits(slo_s), splits_max) if any(is_both) else ():
        best = _supported(points, lights, heavies)
        kept = tuple(points[i] for i in best if is_both[i])
        if kept:
            found.append(Route(index, candidate.cascade_id, lights, heavies, kept))
    return found


def _is_only(point: RoutingPoint, part: str) -> bool:
    other = point.heavy_visits if part == "light" else point.light_visits
    return other <= 0.0


class _Options:
    """The pools open to a cascade's stages, with the longest time that a query spends in each."""

    def __init__(
        self,
        problem: FleetProblem,
        candidate: Candidate,
        slo_s: float,
        where: Sequence[Place],
    ) -> None:
        waits = capped_waits(problem, candidate, slo_s)
        self._pools: dict[str, list[tuple[float, Pool]]] = {"light": [], "heavy": []}
        stages = {"light": candidate.light, "heavy": candidate.heavy}
        for part, variant in stages.items():
            for place in where:
                base = problem.base(variant)
                if base not in place.bases or (variant, place.device) not in problem.latency:
                    continue
                if place.is_shared and _bases(problem, candidate) != set(place.bases):
                    continue
                profile = problem.latency[variant, place.device]
                for size in profile.batch_sizes:
                    execution_s = profile.execution_s(size)
                    spent_s = execution_s + waits[part]
                    if _is_shared(problem, candidate, place):
                        spent_s += _blocking_s(problem, candidate, part, place)
                    pool = Pool(variant, place, size, execution_s / size)
                    self._pools[part].append((spent_s, pool))

    def best(self, part: str, limit_s: float) -> tuple[Pool, ...]:
        """Return the most productive pool of each place within a time."""
        chosen: dict[Place, Pool] = {}
        for spent_s, pool in self._pools[part]:
            known = chosen.get(pool.place)
            if spent_s <= limit_s + _TOLERANCE and (
                known is None or pool.work_s < known.work_s - _TOLERANCE
            ):
                chosen[pool.place] = pool
        return tuple(chosen.values())

    def splits(self, slo_s: float) -> list[tuple[tuple[Pool, ...], tuple[Pool, ...]]]:
        """Return the divisions of the deadline that no other beats at every place."""
        limits = sorted({round(spent_s, 9) for spent_s, _ in self._pools["light"]})
        found: dict[tuple[tuple[Pool, ...], tuple[Pool, ...]], None] = {}
        for limit_s in limits:
            split = self.best("light", limit_s), self.best("heavy", slo_s - limit_s)
            if split[0] and split[1]:
                found[split] = None
        return [s for s in found if not any(_beats(o, s) for o in found if o != s)]


def _bases(problem: FleetProblem, candidate: Candidate) -> set[str]:
    return {problem.base(candidate.light), problem.base(candidate.heavy)}


def _is_shared(problem: FleetProblem, candidate: Candidate, place: Place) -> bool:
    """Tell whether both stages of a cascade run on the same few workers.

    In a large pool of operating points of one base some worker is always about to be free.
    """
    is_small = problem.devices[place.device] <= PAIRED_WORKERS_MAX
    return is_small and _bases(problem, candidate) == set(place.bases)


def _blocking_s(problem: FleetProblem, candidate: Candidate, part: str, place: Place) -> float:
    """Return how long a query may find a time-shared worker busy with the other stage.

    That is a single query of it: load balancers hold back larger heavy batches that would make a
    light query late, and light ones are short.
    """
    other = candidate.heavy if part == "light" else candidate.light
    return problem.latency[other, place.device].execution_s(1)


def capped_waits(problem: FleetProblem, candidate: Candidate, slo_s: float) -> dict[str, float]:
    """Return the stages' expected waits, scaled down to what may be claimed of the deadline.

    As for a single cascade (``planning.waits``): a burst must not make every route infeasible.
    """
    light_s = _fastest_s(problem, candidate.light)
    both_s = slo_s - light_s - _fastest_s(problem, candidate.heavy)
    budget_s = problem.wait_share_max * (both_s if both_s > 0.0 else max(0.0, slo_s - light_s))
    waits = {
        "light": min(problem.waits_s.get(candidate.light, 0.0), budget_s),
        "heavy": min(problem.waits_s.get(candidate.heavy, 0.0), budget_s),
    }
    total_s = sum(waits.values())
    if total_s > budget_s:
        waits = {part: wait_s * budget_s / total_s for part, wait_s in waits.items()}
    return waits


def _fastest_s(problem: FleetProblem, variant: str) -> float:
    known = (problem.latency.get((variant, device)) for device in problem.devices)
    return min((profile.execution_s(1) for profile in known if profile), default=0.0)


def _beats(
    one: tuple[tuple[Pool, ...], tuple[Pool, ...]], other: tuple[tuple[Pool, ...], tuple[Pool, ...]]
) -> bool:
    """Tell whether one division has a pool at least as productive wherever the other has one."""
    for mine, theirs in zip(one, other, strict=True):
        work = {pool.place: pool.work_s for pool in mine}
        if any(work.get(p.place, float("inf")) > p.work_s + _TOLERANCE for p in theirs):
            return False
    return True


def _supported(
    points: Sequence[RoutingPoint], lights: Sequence[Pool], heavies: Sequence[Pool]
) -> list[int]:
    """Return which points are best at some price of work, for several ratios of the prices.

    In a large fleet a worker-second costs the same in both stages, and the points of the concave
    hull of value against work are all that a plan ever mixes. In a small one whole workers make
    one stage dearer than the other; hence the ratios.
    """
    light_s = min(pool.work_s for pool in lights)
    heavy_s = min(pool.work_s for pool in heavies)
    light_work = [light_s * p.light_visits for p in points]
    heavy_work = [heavy_s * p.heavy_visits for p in points]
    values = [p.value for p in points]
    kept: set[int] = set()
    for ratio in PRICE_RATIOS:
        costs = [ratio * x + y for x, y in zip(light_work, heavy_work, strict=True)]
        kept.update(_concave_hull(costs, values))
    return sorted(kept)


def _concave_hull(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Return the corners of the rising part of the upper hull of value against cost."""
    order = sorted(range(len(costs)), key=lambda i: (costs[i], -values[i], i))
    hull: list[int] = []
    for i in order:
        if hull and values[i] <= values[hull[-1]] + _TOLERANCE:
            continue
        while len(hull) > 1 and _is_below(costs, values, hull[-2], hull[-1], i):
            hull.pop()
        hull.append(i)
    return hull


def _is_below(
    costs: Sequence[float], values: Sequence[float], left: int, middle: int, right: int
) -> bool:
    """Tell whether the middle point lies on or below the line through the other two."""
    rise = (values[right] - values[left]) * (costs[middle] - costs[left])
    return (values[middle] - values[left]) * (costs[right] - costs[left]) <= rise + 1e-12


def _last_resort(
    problem: FleetProblem, index: int, group: ClassProblem, where: Sequence[Place]
) -> list[Route]:
    options = [
        (problem.latency[c.light, place.device].execution_s(1), place, c)
        for c in group.candidates
        for place in where
        if place.bases == (problem.base(c.light),) and (c.light, place.device) in problem.latency
    ]
    if not options:
        return []
    seconds, place, candidate = min(options, key=lambda o: (o[0], o[1], o[2].cascade_id))
    light_only = [p for p in candidate.points if _is_only(p, "light")]
    # A share that is pinned is the only point; what it wants of the heavy variant cannot be done.
    light_only = light_only or [RoutingPoint(0.0, 0.0, min(p.value for p in candidate.points))]
    point = max(light_only, key=lambda p: p.value)
    pool = Pool(candidate.light, place, 1, seconds)
    return [Route(index, candidate.cascade_id, (pool,), (), (point,))]


def _thinned(found: Sequence[Route]) -> tuple[Route, ...]:
    """Keep as many points of every route as the size of the program allows, evenly spaced."""
    excess = _num_variables(found) - VARIABLES_MAX
    if excess <= 0:
        return tuple(found)
    columns = sum(len(r.points) for r in found)
    limit = max(2, (columns - excess) // len(found))
    return tuple(
        Route(r.class_index, r.cascade_id, r.lights, r.heavies, tuple(thin(r.points, limit)))
        for r in found
    )
