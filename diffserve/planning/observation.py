"""What the planner sees of the deployment: plain values, gathered by the controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from diffserve.core import Cascade, RequestClass, WorkerInfo
from diffserve.profiles.curves import BypassPoint, DeferralProfile, QualityCurve
from diffserve.profiles.latency import LatencyProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """The queue of one variant, summed over load balancers.

    Attributes:
        length: Queries waiting; running ones not counted.
        oldest_age_s: How long the longest-waiting of them has waited.
        due_qps: The least rate that serves them all by their deadlines.
    """

    length: int = 0
    oldest_age_s: float = 0.0
    due_qps: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeObservation:
    """One cascade: its definition, its profiles and its demand.

    Attributes:
        cascade: Names of the variants, and the SLO.
        light: Latency profile of the light variant, scoring included.
        heavy: Latency profile of the heavy variant.
        deferral: Threshold -> deferral fraction.
        quality: Deferral fraction -> quality.
        demand_qps: Estimated arrivals, dispersion headroom included (``policy.demand``). Of a class
            of several cascades only the sum over them counts.
        bypass: Quality when the hardest queries skip the light variant; empty where prompts are not
            ranked, and then none does.
        pinned_share: The only share of light images that may be deferred, fixed by an operator;
            None: the planner chooses.
    """

    cascade: Cascade
    light: LatencyProfile
    heavy: LatencyProfile
    deferral: DeferralProfile
    quality: QualityCurve
    demand_qps: float
    bypass: tuple[BypassPoint, ...] = ()
    pinned_share: float | None = None

    @property
    def heavy_share_max(self) -> float:
        """Largest share of the queries that the heavy variant may be planned to draw, 0..1."""
        return self.cascade.deferral_max if self.pinned_share is None else 1.0

    def deferral_limit(self, bypass: float = 0.0) -> float:
        """Return the largest share of light images to defer, 0..1; below 0: too many bypass.

        Args:
            bypass: Share of the queries that skip the light variant, which the cap counts too.
        """
        return (self.heavy_share_max - bypass) / (1.0 - bypass) if bypass < 1.0 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantFacts:
    """What a variant needs of a device.

    Attributes:
        base: Identity of the weights; variants of one base switch for free.
        memory_bytes: Held while resident; 0 when unknown.
        load_s: Seconds that a worker serves nothing while it loads and warms up; 0 when unknown.
    """

    base: str
    memory_bytes: int = 0
    load_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetObservation:
    """Everything that a plan depends on besides the previous plan.

    Attributes:
        workers: Every worker that is alive; draining ones get no variant.
        cascades: ``cascade_id`` -> observation.
        default_cascade: Cascade, or class, of queries that name none; expected first on an idle
            fleet.
        queues: ``variant_id`` -> queue; an absent one is empty.
        classes: Request classes; a cascade that none of them names is one of its own.
        latency_by_device: ``variant_id`` -> device type (``WorkerInfo.kind``) -> profile, scoring
            included; for types that are absent the cascade's ``light`` and ``heavy`` hold. Where
            this is empty all devices are taken as alike.
        variants: ``variant_id`` -> what it needs; one that is absent is its own base.
        memory_by_device: Device type -> bytes that variants may hold together on the smallest
            device of that type; 0 or absent when unknown.
    """

    workers: tuple[WorkerInfo, ...]
    cascades: Mapping[str, CascadeObservation]
    default_cascade: str = ""
    queues: Mapping[str, QueueState] = field(default_factory=dict)
    classes: tuple[RequestClass, ...] = ()
    latency_by_device: Mapping[str, Mapping[str, LatencyProfile]] = field(default_factory=dict)
    variants: Mapping[str, VariantFacts] = field(default_factory=dict)
    memory_by_device: Mapping[str, int] = field(default_factory=dict)

    @property
    def usable_workers(self) -> tuple[WorkerInfo, ...]:
        """Workers that may host a variant, by id."""
        usable = (w for w in self.workers if not w.is_draining)
        return tuple(sorted(usable, key=lambda w: w.worker_id))

    def queue(self, variant_id: str) -> QueueState:
        """Return the queue of a variant."""
        return self.queues.get(variant_id, QueueState())

    def facts(self, variant_id: str) -> VariantFacts:
        """Return what a variant needs."""
        return self.variants.get(variant_id, VariantFacts(base=variant_id))

    @property
    def groups(self) -> tuple[RequestClass, ...]:
        """Request classes by id, those of a single cascade included; unknown cascades left out."""
        named = {c for group in self.classes for c in group.cascade_ids}
        alone = [
            RequestClass(class_id=c, cascade_ids=(c,)) for c in self.cascades if c not in named
        ]
        known = (
            replace(group, cascade_ids=tuple(c for c in group.cascade_ids if c in self.cascades))
            for group in (*self.classes, *alone)
        )
        return tuple(sorted((g for g in known if g.cascade_ids), key=lambda g: g.class_id))
