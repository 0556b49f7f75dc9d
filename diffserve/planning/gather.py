"""From the catalog and what was measured to the planner's observation. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from diffserve.catalog import Catalog, class_of
from diffserve.core import Cascade, WorkerInfo
from diffserve.planning.observation import (
    CascadeObservation,
    FleetObservation,
    QueueState,
    VariantFacts,
)
from diffserve.profiles.curves import DeferralProfile, QualityCurve
from diffserve.profiles.latency import LatencyProfile

Profiles = Callable[[str, str], LatencyProfile]
"""``(variant_id, device type)`` -> what a batch takes there, as known now."""


def observe_fleet(
    catalog: Catalog,
    workers: tuple[WorkerInfo, ...],
    *,
    cascades: Iterable[Cascade],
    profile: Profiles,
    demand_qps: Mapping[str, float],
    queues: Mapping[str, QueueState],
    ranks_prompts: bool = False,
    deferral: Mapping[str, DeferralProfile] | None = None,
    quality: Mapping[str, QualityCurve] | None = None,
    pins: Mapping[str, float] | None = None,
    load_s: Mapping[str, float] | None = None,
) -> FleetObservation:
    """Return everything that the next plan depends on.

    Args:
        catalog: Curves, classes and variants.
        workers: Every worker that is alive.
        cascades: What is served, with the SLOs in force.
        profile: Latency by variant and device type.
        demand_qps: By ``class_id``, headroom included; the first cascade of a class carries it.
        queues: By ``variant_id``.
        ranks_prompts: Somebody ranks prompts by difficulty, so that queries may bypass the light
            variant.
        deferral: By ``cascade_id``; default: the catalog's.
        quality: By ``cascade_id``; default: the catalog's.
        pins: ``cascade_id`` -> share deferred that an operator fixed.
        load_s: ``variant_id`` -> seconds of loading and warm-up; where absent the catalog's hold.
    """
    deferral, quality = deferral or catalog.deferral, quality or catalog.quality
    served = tuple(cascades)
    kinds = sorted({worker.kind for worker in workers})
    variants = sorted({v for c in served for v in (c.light, c.heavy)})
    # Of one kind, the fleet's profiles are the cascades'; of several, the majority's stand there.
    common = min(kinds, key=lambda kind: (-_count(workers, kind), kind), default="cpu")
    remaining = dict(demand_qps)
    observations = {}
    for cascade in served:
        cascade_id = cascade.cascade_id
        observations[cascade_id] = CascadeObservation(
            cascade=cascade,
            light=profile(cascade.light, common),
            heavy=profile(cascade.heavy, common),
            deferral=deferral[cascade_id],
            quality=quality[cascade_id],
            demand_qps=remaining.pop(class_of(cascade_id, catalog.classes), 0.0),
            bypass=catalog.bypass.get(cascade_id, ()) if ranks_prompts else (),
            pinned_share=(pins or {}).get(cascade_id),
        )
    return FleetObservation(
        workers=workers,
        cascades=observations,
        default_cascade=catalog.default_cascade,
        queues=queues,
        classes=tuple(catalog.classes.values()),
        latency_by_device={v: {kind: profile(v, kind) for kind in kinds} for v in variants}
        if len(kinds) > 1
        else {},
        variants={
            v: VariantFacts(
                base=catalog.variants[v].base,
                memory_bytes=catalog.variants[v].memory_bytes,
                load_s=(load_s or {}).get(v, catalog.variants[v].load_s),
            )
            for v in variants
            if v in catalog.variants
        },
        memory_by_device={kind: _memory_bytes_max(workers, kind) for kind in kinds},
    )


def _memory_bytes_max(workers: Iterable[WorkerInfo], kind: str) -> int:
    """Return what the smallest worker of a kind may hold; 0 as soon as one does not say."""
    return min(worker.memory_bytes_max for worker in workers if worker.kind == kind)


def _count(workers: Iterable[WorkerInfo], kind: str) -> int:
    return sum(worker.kind == kind for worker in workers)
