"""The joint planning problem: several request classes, cascades and device types, one fleet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from diffserve.planning.observation import VariantFacts
from diffserve.profiles.latency import LatencyProfile


@dataclass(frozen=True, slots=True)
class RoutingPoint:
    """One way to run a cascade; a point of the planner's grid.

    Attributes:
        bypass: Share of the queries that skip the light variant, 0..1.
        deferral: Share deferred of the others, 0..1.
        value: Objective there, per query.
    """

    bypass: float
    deferral: float
    value: float

    @property
    def light_visits(self) -> float:
        """Visits of the light variant per query."""
        return 1.0 - self.bypass

    @property
    def heavy_visits(self) -> float:
        """Visits of the heavy variant per query."""
        return self.bypass + (1.0 - self.bypass) * self.deferral


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A cascade that may serve a class.

    Attributes:
        cascade_id: Its name.
        light: ``variant_id`` that runs first.
        heavy: ``variant_id`` that deferred and bypassing queries run on.
        points: What may be chosen; holds the point that defers nothing, unless a share is pinned.
    """

    cascade_id: str
    light: str
    heavy: str
    points: tuple[RoutingPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassProblem:
    """A request class and its demand.

    Attributes:
        class_id: Its name.
        slo_s: Allowed duration.
        weight: What the quality of one query counts against that of another class.
        demand_qps: Arrival rate to plan for, headroom included.
        candidates: At least one.
        is_idle: No query of it is known, while others have some: ``demand_qps`` is a precaution.
    """

    class_id: str
    slo_s: float
    weight: float
    demand_qps: float
    candidates: tuple[Candidate, ...]
    is_idle: bool = False

    def __post_init__(self) -> None:
        assert self.candidates and self.slo_s > 0.0 and self.weight > 0.0
        assert math.isfinite(self.demand_qps) and self.demand_qps >= 0.0


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """What a worker can be: a device type and the weights that it holds.

    Attributes:
        device: Device type.
        bases: Sorted; one base, or two whose variants share the worker's time.
    """

    device: str
    bases: tuple[str, ...]

    @property
    def is_shared(self) -> bool:
        """Whether two variants share a worker's time."""
        return len(self.bases) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetProblem:
    """One joint planning problem.

    Attributes:
        classes: By id.
        devices: Device type -> workers of it, above 0.
        latency: (``variant_id``, device type) -> profile; absent where the variant cannot run.
        facts: ``variant_id`` -> base and load time.
        pairs: Device type -> pairs of bases, each sorted, that one device can hold together.
        waits_s: ``variant_id`` -> expected wait in its queue.
        residency: (base, device type) -> workers that hold it now.
        current: Place -> workers placed there now.
        utilisation_max: Share of a small pool's throughput that a plan may use, (0, 1].
        staffing_beta: Headroom of a large pool, in square roots of its load; see ``staffing``.
        wait_share_max: Share of the SLO left by batches of 1 that waits may claim, [0, 1).
        horizon_s: Period over which a load must pay off.
    """

    classes: tuple[ClassProblem, ...]
    devices: Mapping[str, int]
    latency: Mapping[tuple[str, str], LatencyProfile]
    facts: Mapping[str, VariantFacts] = field(default_factory=dict)
    pairs: Mapping[str, frozenset[tuple[str, str]]] = field(default_factory=dict)
    waits_s: Mapping[str, float] = field(default_factory=dict)
    residency: Mapping[tuple[str, str], int] = field(default_factory=dict)
    current: Mapping[Place, int] = field(default_factory=dict)
    utilisation_max: float = 1.0
    staffing_beta: float = 1.5
    wait_share_max: float = 0.5
    horizon_s: float = 60.0

    @property
    def num_workers(self) -> int:
        """Workers of all types."""
        return sum(self.devices.values())

    def base(self, variant_id: str) -> str:
        """Return the weights that a variant needs."""
        known = self.facts.get(variant_id)
        return known.base if known else variant_id

    def load_s(self, base: str) -> float:
        """Return how long a worker is away to load weights; 0 when unknown."""
        return max((f.load_s for f in self.facts.values() if f.base == base), default=0.0)

    def value_range(self) -> float:
        """Return the widest range of values of any class, weighted; at least a tiny one."""
        return max((g.weight * (best_value(g) - worst_value(g)) for g in self.classes), default=0.0)


def worst_value(group: ClassProblem) -> float:
    """Return the least value that any candidate has anywhere."""
    return min(p.value for c in group.candidates for p in c.points)


def best_value(group: ClassProblem) -> float:
    """Return the largest value that any candidate has anywhere."""
    return max(p.value for c in group.candidates for p in c.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeShare:
    """What a joint plan wants of one cascade.

    Attributes:
        share: Of its class's queries, 0..1; those of a class sum to 1.
        bypass: Of its queries straight to the heavy variant.
        deferral: Of its other queries.
        value: Objective per query.
    """

    share: float
    bypass: float
    deferral: float
    value: float
