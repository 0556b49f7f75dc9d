"""What the planner sees of the deployment: plain values, gathered by the controller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from diffserve.core import Cascade, WorkerInfo
from diffserve.profiles.curves import DeferralProfile, QualityCurve
from diffserve.profiles.latency import LatencyProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """The queue of one variant, summed over load balancers.

    Attributes:
        length: Queries waiting; running ones not counted.
        oldest_age_s: How long the longest-waiting of them has waited.
    """

    length: int = 0
    oldest_age_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeObservation:
    """One cascade: its definition, its profiles and its demand.

    Attributes:
        cascade: Names of the variants, and the SLO.
        light: Latency profile of the light variant, scoring included.
        heavy: Latency profile of the heavy variant.
        deferral: Threshold -> deferral fraction.
        quality: Deferral fraction -> quality.
        demand_qps: Estimated arrivals, dispersion headroom included (``policy.demand``).
    """

    cascade: Cascade
    light: LatencyProfile
    heavy: LatencyProfile
    deferral: DeferralProfile
    quality: QualityCurve
    demand_qps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetObservation:
    """Everything that a plan depends on besides the previous plan.

    Attributes:
        workers: Every worker that is alive; draining ones get no variant.
        cascades: ``cascade_id`` -> observation.
        queues: ``variant_id`` -> queue; an absent one is empty.
    """

    workers: tuple[WorkerInfo, ...]
    cascades: Mapping[str, CascadeObservation]
    queues: Mapping[str, QueueState] = field(default_factory=dict)

    @property
    def usable_workers(self) -> tuple[WorkerInfo, ...]:
        """Workers that may host a variant, by id."""
        usable = (w for w in self.workers if not w.is_draining)
        return tuple(sorted(usable, key=lambda w: w.worker_id))

    def queue(self, variant_id: str) -> QueueState:
        """Return the queue of a variant."""
        return self.queues.get(variant_id, QueueState())
