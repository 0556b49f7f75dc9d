"""From an observation to the joint problem: points, profiles, waits, and what is loaded where."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from diffserve.core import Plan, RequestClass, WorkerInfo
from diffserve.planning.columns import PAIRED_WORKERS_MAX
from diffserve.planning.fleet_problem import (
    Candidate,
    ClassProblem,
    FleetProblem,
    Place,
    RoutingPoint,
)
from diffserve.planning.observation import CascadeObservation, FleetObservation
from diffserve.planning.parameters import PlannerParameters
from diffserve.planning.problem import Objective
from diffserve.planning.waits import WaitModel
from diffserve.policy.waiting import expected_wait_s, little_wait_s
from diffserve.profiles.curves import QualityCurve
from diffserve.profiles.latency import LatencyProfile

IDLE_SHARE = 0.01
"""Demand, as a share of all, that an idle class is planned for: its first query finds workers."""
IDLE_QPS = 1e-3
"""The same where every class is idle."""
IDLE_DEFAULT_QPS = 1e-2
"""That of the class with the default cascade: where not all find workers, its queries do."""
ALIKE = ""
"""Device type of a fleet whose devices are taken as alike."""


def device_of(observation: FleetObservation, worker: WorkerInfo) -> str:
    """Return the device type that the planner takes a worker for."""
    return worker.kind if observation.latency_by_device else ALIKE


def workers_by_device(observation: FleetObservation) -> dict[str, list[WorkerInfo]]:
    """Return the usable workers by device type, both in order."""
    found: dict[str, list[WorkerInfo]] = {}
    for worker in observation.usable_workers:
        found.setdefault(device_of(observation, worker), []).append(worker)
    return dict(sorted(found.items()))


def class_demand_qps(observation: FleetObservation, group: RequestClass) -> float:
    """Return the estimated demand of a class."""
    return sum(observation.cascades[c].demand_qps for c in group.cascade_ids)


def planned_demand_qps(
    observation: FleetObservation, group: RequestClass, parameters: PlannerParameters
) -> float:
    """Return the demand to plan for: the estimate with headroom, and what waits already."""
    demand_qps = class_demand_qps(observation, group) * parameters.headroom
    if not parameters.drains_backlog:
        return demand_qps
    lights = {observation.cascades[c].cascade.light for c in group.cascade_ids}
    for variant in sorted(lights):
        sharers = [
            g
            for g in observation.groups
            if any(observation.cascades[c].cascade.light == variant for c in g.cascade_ids)
        ]
        total = sum(class_demand_qps(observation, g) for g in sharers)
        own = class_demand_qps(observation, group)
        part = own / total if total > 0.0 else 1.0 / len(sharers)
        demand_qps += part * observation.queue(variant).due_qps
    return demand_qps


def joint_problem(
    observation: FleetObservation, previous: Plan | None, parameters: PlannerParameters
) -> FleetProblem:
    """Return the joint problem of everything observed. Pure.

    At least one class and one usable worker must be there.
    """
    by_device = workers_by_device(observation)
    devices = {device: len(members) for device, members in by_device.items()}
    demands = {
        g.class_id: planned_demand_qps(observation, g, parameters) for g in observation.groups
    }
    share_qps = IDLE_SHARE * sum(demands.values())
    is_quiet = max(demands.values()) < IDLE_QPS
    classes = tuple(
        ClassProblem(
            class_id=group.class_id,
            slo_s=_slo_s(observation, group),
            weight=group.weight,
            demand_qps=max(_idle_qps(observation, group), share_qps, demands[group.class_id]),
            candidates=tuple(
                _candidate(observation.cascades[c], parameters) for c in group.cascade_ids
            ),
            is_idle=not is_quiet and demands[group.class_id] < IDLE_QPS,
        )
        for group in observation.groups
    )
    latency = _latency(observation, devices)
    problem = FleetProblem(
        classes=classes,
        devices=devices,
        latency=latency,
        facts={v: observation.facts(v) for v, _ in sorted(latency)},
        pairs={device: _pairs(observation, members) for device, members in by_device.items()},
        residency=_residency(observation, previous),
        current=current_places(observation, previous),
        utilisation_max=parameters.utilisation_max,
        staffing_beta=parameters.staffing_beta,
        wait_share_max=parameters.wait_share_max,
        horizon_s=parameters.load_horizon_s,
    )
    return replace(problem, waits_s=_waits(observation, previous, problem, parameters))


def _idle_qps(observation: FleetObservation, group: RequestClass) -> float:
    is_default = observation.default_cascade in (group.class_id, *group.cascade_ids)
    return IDLE_DEFAULT_QPS if is_default else IDLE_QPS


def _slo_s(observation: FleetObservation, group: RequestClass) -> float:
    return min(observation.cascades[c].cascade.slo_s for c in group.cascade_ids)


def _candidate(seen: CascadeObservation, parameters: PlannerParameters) -> Candidate:
    return Candidate(
        cascade_id=seen.cascade.cascade_id,
        light=seen.cascade.light,
        heavy=seen.cascade.heavy,
        points=routing_points(seen, parameters),
    )


def routing_points(
    seen: CascadeObservation, parameters: PlannerParameters
) -> tuple[RoutingPoint, ...]:
    """Return the points of a cascade: corners of its curves, between which all is linear.

    A share that an operator fixed is the only point.
    """
    if seen.pinned_share is not None:
        return (RoutingPoint(0.0, seen.pinned_share, _pinned_value(seen, parameters)),)
    if parameters.objective is Objective.THRESHOLD:
        return _threshold_points(seen, parameters)
    curves = [(0.0, seen.quality), *((b.fraction, b.quality) for b in seen.bypass)]
    points = [
        RoutingPoint(bypass, f, q)
        for bypass, curve in curves
        for f, q in _corners(curve, seen.deferral_limit(bypass))
    ]
    if seen.bypass and seen.heavy_share_max >= 1.0:
        points.append(RoutingPoint(1.0, 1.0, seen.quality.qualities[-1]))
    return tuple(points)


def _corners(curve: QualityCurve, limit: float) -> list[tuple[float, float]]:
    """Return the corners of a curve up to a share deferred, its end included; none below 0."""
    if limit < 0.0:
        return []
    curve = curve.flat_beyond(limit)
    corners = zip(curve.fractions, curve.qualities, strict=True)
    return [(f, quality) for f, quality in corners if f <= limit]


def _pinned_value(seen: CascadeObservation, parameters: PlannerParameters) -> float:
    assert seen.pinned_share is not None
    if parameters.objective is Objective.THRESHOLD:
        return seen.deferral.threshold_for(seen.pinned_share)
    return seen.quality.quality_at(seen.pinned_share)


def _threshold_points(
    seen: CascadeObservation, parameters: PlannerParameters
) -> tuple[RoutingPoint, ...]:
    best = seen.quality.best_fraction if parameters.deferral_cap_at_best else 1.0
    limit = min(best, seen.deferral_limit())
    by_fraction = {0.0: 0.0}
    for threshold, f in zip(seen.deferral.thresholds, seen.deferral.fractions, strict=True):
        if f <= limit + 1e-9:
            by_fraction[f] = threshold
    return tuple(RoutingPoint(0.0, f, t) for f, t in sorted(by_fraction.items()))


def _latency(
    observation: FleetObservation, devices: Mapping[str, int]
) -> dict[tuple[str, str], LatencyProfile]:
    """Return profiles; the reference profile where a device type has none of its own.

    None where a variant is known not to fit while it does elsewhere: the worker would refuse it.
    """
    found: dict[tuple[str, str], LatencyProfile] = {}
    for _, seen in sorted(observation.cascades.items()):
        for variant, reference in (
            (seen.cascade.light, seen.light),
            (seen.cascade.heavy, seen.heavy),
        ):
            own = observation.latency_by_device.get(variant, {})
            roomy = [device for device in devices if _has_room(observation, variant, device)]
            for device in roomy or devices:
                found[variant, device] = own.get(device, reference)
    return found


def _has_room(observation: FleetObservation, variant: str, device: str) -> bool:
    """Tell whether a device type may hold a variant; so may all of one base, or none."""
    limit = observation.memory_by_device.get(device, 0)
    base = observation.facts(variant).base
    sharers = (f.memory_bytes for f in observation.variants.values() if f.base == base)
    return limit == 0 or max(sharers, default=0) <= limit


def _pairs(
    observation: FleetObservation, workers: Sequence[WorkerInfo]
) -> frozenset[tuple[str, str]]:
    """Return the pairs of bases of one cascade that all these workers can hold together."""
    if len(workers) > PAIRED_WORKERS_MAX:
        return frozenset()
    pairs = set()
    for seen in observation.cascades.values():
        light, heavy = seen.cascade.light, seen.cascade.heavy
        bases = sorted({observation.facts(light).base, observation.facts(heavy).base})
        if len(bases) == 2 and can_share(observation, workers, light, heavy):
            pairs.add((bases[0], bases[1]))
    return frozenset(pairs)


def can_share(
    observation: FleetObservation, workers: Sequence[WorkerInfo], light: str, heavy: str
) -> bool:
    """Tell whether all these workers can hold two variants together.

    Known to fit, or held by all of them right now; where neither is known it is not tried, because
    a worker out of memory would serve nothing.
    """
    if not workers:
        return False
    if all({light, heavy} <= set(w.resident) for w in workers):
        return True
    limit = min(observation.memory_by_device.get(w.kind, 0) for w in workers)
    sizes = [observation.facts(v).memory_bytes for v in (light, heavy)]
    return limit > 0 and min(sizes) > 0 and sum(sizes) <= limit


def _held(observation: FleetObservation, previous: Plan | None, worker: WorkerInfo) -> set[str]:
    placed = previous.variants_of(worker.worker_id) if previous else ()
    return {observation.facts(v).base for v in (*worker.resident, *placed)}


def _residency(observation: FleetObservation, previous: Plan | None) -> dict[tuple[str, str], int]:
    counts: Counter[tuple[str, str]] = Counter()
    for worker in observation.usable_workers:
        device = device_of(observation, worker)
        counts.update((base, device) for base in _held(observation, previous, worker))
    return dict(sorted(counts.items()))


def current_places(observation: FleetObservation, previous: Plan | None) -> dict[Place, int]:
    """Return what workers are by the plan in force, place -> workers."""
    counts: Counter[Place] = Counter()
    for worker in observation.usable_workers:
        variants = previous.variants_of(worker.worker_id) if previous else ()
        if variants:
            bases = tuple(sorted({observation.facts(v).base for v in variants}))
            counts[Place(device_of(observation, worker), bases)] += 1
    return dict(sorted(counts.items()))


def _waits(
    observation: FleetObservation,
    previous: Plan | None,
    problem: FleetProblem,
    parameters: PlannerParameters,
) -> dict[str, float]:
    """Return the wait to allow for in each variant's queue.

    The longer of a steady one, in a pool as large as if all weights had as many workers, at the
    utilisation that a plan may use, and the time in which the workers of now empty the queue. The
    first is not carried over from plan to plan, so it cannot oscillate.
    """
    bases = {problem.base(v) for v, _ in problem.latency}
    demand_qps = sum(group.demand_qps for group in problem.classes)
    waits = {}
    for variant in sorted({v for v, _ in problem.latency}):
        queue = observation.queue(variant)
        if parameters.wait_model is WaitModel.LITTLE:
            waits[variant] = little_wait_s(queue.length, demand_qps)
            continue
        execution_s = min(
            profile.execution_s(1) for (v, _), profile in problem.latency.items() if v == variant
        )
        hosts = len(previous.workers_on(variant)) if previous else 0
        pool = max(1, problem.num_workers // len(bases))
        steady_s = expected_wait_s(
            arrival_qps=parameters.utilisation_max * pool / execution_s,
            num_workers=pool,
            batch_size=1,
            execution_s=execution_s,
        )
        drain_s = little_wait_s(queue.length, max(1, hosts) / execution_s)
        backlog_s = max(queue.oldest_age_s, drain_s) if queue.length else 0.0
        waits[variant] = max(steady_s if math.isfinite(steady_s) else 0.0, backlog_s)
    return waits
