"""From the solution of the joint program to a plan: shares, workers, batches, and the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffserve.core import CascadePlan, Plan, RequestClass
from diffserve.planning.allocation import STRETCH_MAX, most_productive
from diffserve.planning.fleet_problem import CascadeShare, FleetProblem, Place
from diffserve.planning.fleet_solver import FleetSolution
from diffserve.planning.joint import planned_demand_qps, workers_by_device
from diffserve.planning.observation import CascadeObservation, FleetObservation
from diffserve.planning.parameters import PlannerParameters
from diffserve.planning.prices import fleet_prices
from diffserve.planning.problem import Objective
from diffserve.policy.placement import place_hosts
from diffserve.profiles.latency import LatencyProfile

SHARE_MIN = 1e-4
"""Smaller shares are rounding of the solver's and not worth a worker's switch."""


@dataclass(frozen=True, slots=True)
class _Use:
    """A cascade with a share."""

    group: RequestClass
    seen: CascadeObservation
    share: CascadeShare


def joint_plan(
    observation: FleetObservation,
    previous: Plan | None,
    parameters: PlannerParameters,
    solution: FleetSolution,
    *,
    plan_id: int,
    solver: str,
) -> Plan:
    """Return the plan that a joint solution stands for. Pure."""
    workers = observation.usable_workers
    shares = cascade_shares(solution)
    hosts = _hosts(observation, previous, solution)
    placed = _place(observation, previous, hosts)
    uses = [
        _Use(group, observation.cascades[c], shares[c])
        for group in observation.groups
        for c in group.cascade_ids
    ]
    return Plan(
        plan_id=plan_id,
        placement={w: variants[0] for w, variants in placed.items()},
        batch_size_max=batch_caps(solution, uses),
        cascades={
            use.seen.cascade.cascade_id: _cascade_plan(observation, parameters, use)
            for use in sorted(uses, key=lambda use: use.seen.cascade.cascade_id)
        },
        coresident={w: variants[1:] for w, variants in placed.items() if len(variants) > 1},
        prices=fleet_prices(solution.model, solution.final),
        workers={w.worker_id: w for w in workers if w.worker_id in placed},
        solver=solver,
        status=solution.status.value,
        reason=_reason(observation, parameters, solution, uses),
    )


def cascade_shares(solution: FleetSolution) -> dict[str, CascadeShare]:
    """Return what the solution wants of every cascade.

    A cascade has one bypass and one deferral fraction; where the program mixes two neighbouring
    points of it, it gets their mean, which costs the same work.
    """
    model = solution.model
    sums: dict[str, list[float]] = {}
    for route, index, share in model.shares(solution.final.values):
        point = route.points[index]
        total = sums.setdefault(route.cascade_id, [0.0] * 4)
        for i, amount in enumerate(
            (1.0, point.bypass, point.light_visits * point.deferral, point.value)
        ):
            total[i] += share * amount
    shares: dict[str, CascadeShare] = {}
    for group in model.problem.classes:
        used = {c.cascade_id: sums.get(c.cascade_id, [0.0] * 4) for c in group.candidates}
        served = sum(t[0] for t in used.values() if t[0] >= SHARE_MIN)
        first = group.candidates[0].cascade_id
        for cascade_id, (share, bypass, deferred, value) in used.items():
            if served <= 0.0:
                # All is shed: what is served nevertheless goes to the first cascade, light.
                least = min(p.value for p in group.candidates[0].points)
                shares[cascade_id] = CascadeShare(
                    share=float(cascade_id == first), bypass=0.0, deferral=0.0, value=least
                )
            elif share < SHARE_MIN:
                shares[cascade_id] = CascadeShare(share=0.0, bypass=0.0, deferral=0.0, value=0.0)
            else:
                light = share - bypass
                shares[cascade_id] = CascadeShare(
                    share=share / served,
                    bypass=_clean(bypass / share),
                    deferral=_clean(deferred / light) if light > 1e-9 else 1.0,
                    value=value / share,
                )
    return shares


def _clean(share: float) -> float:
    return min(1.0, max(0.0, round(share, 9)))


def _hosts(
    observation: FleetObservation, previous: Plan | None, solution: FleetSolution
) -> dict[str, dict[tuple[str, ...], int]]:
    """Return device type -> variants of a worker, its main one first -> workers."""
    hosts: dict[str, dict[tuple[str, ...], int]] = {}
    loads: dict[Place, dict[str, float]] = {}
    for pool, load in solution.model.loads(solution.final.values).items():
        used = loads.setdefault(pool.place, {})
        used[pool.variant_id] = used.get(pool.variant_id, 0.0) + load
    for place, count in solution.placed.items():
        if count > 0:
            variants = _variants(solution.model.problem, place, loads.get(place, {}))
            hosts.setdefault(place.device, {})[variants] = count
    return hosts


def _variants(problem: FleetProblem, place: Place, loads: Mapping[str, float]) -> tuple[str, ...]:
    """Return the variants of a place in use, heaviest load first; one at least of each base."""
    used = sorted(loads, key=lambda v: (-round(loads[v], 6), v))
    for base in place.bases:
        if not any(problem.base(v) == base for v in used):
            known = sorted({v for v, _ in problem.latency if problem.base(v) == base})
            used += known[:1]
    return tuple(used)


def _place(
    observation: FleetObservation,
    previous: Plan | None,
    hosts: Mapping[str, Mapping[tuple[str, ...], int]],
) -> dict[str, tuple[str, ...]]:
    placed: dict[str, tuple[str, ...]] = {}
    for device, workers in workers_by_device(observation).items():
        current = {
            w.worker_id: previous.variants_of(w.worker_id) if previous else () for w in workers
        }
        known = {v for w in workers for v in (*w.resident, *current[w.worker_id])}
        known |= {v for host in hosts.get(device, {}) for v in host}
        bases = {v: observation.facts(v).base for v in sorted(known)}
        placed |= place_hosts(workers, current, hosts.get(device, {}), bases)
    return dict(sorted(placed.items()))


def batch_caps(solution: FleetSolution, uses: Sequence[_Use]) -> dict[str, int]:
    """Return the largest batch of each variant that is used.

    As for a single cascade: the most productive that fits the deadline together with the other
    stage's planned batch, on the device type with most of the variant's work; the smallest of these
    where several cascades share a variant.
    """
    model = solution.model
    work: dict[str, dict[str, float]] = {}
    for pool, load in model.loads(solution.final.values).items():
        devices = work.setdefault(pool.variant_id, {})
        devices[pool.place.device] = devices.get(pool.place.device, 0.0) + load
    placed = {v for p, n in solution.placed.items() if n for v in _variants(model.problem, p, {})}
    caps: dict[str, int] = dict.fromkeys(sorted(placed | set(work)), 1)
    found: dict[str, list[int]] = {}
    for use in uses:
        if use.share.share <= 0.0:
            continue
        cascade = use.seen.cascade
        light_profile = _main_profile(model.problem, work, cascade.light)
        heavy_profile = _main_profile(model.problem, work, cascade.heavy)
        left_s = cascade.slo_s - light_profile.execution_s(1)
        heavy_cap = most_productive(heavy_profile, left_s, 1)
        is_deferring = use.share.deferral > 0.0 and use.share.bypass < 1.0
        left_s = cascade.slo_s - (heavy_profile.execution_s(heavy_cap) if is_deferring else 0.0)
        found.setdefault(cascade.heavy, []).append(heavy_cap)
        found.setdefault(cascade.light, []).append(most_productive(light_profile, left_s, 1))
    return dict(sorted((caps | {v: min(sizes) for v, sizes in found.items()}).items()))


def _main_profile(
    problem: FleetProblem, work: Mapping[str, Mapping[str, float]], variant: str
) -> LatencyProfile:
    """Return the profile on the device type with most of a variant's work."""
    counts = {d: float(n) for d, n in problem.devices.items() if (variant, d) in problem.latency}
    loads = work.get(variant) or counts
    return problem.latency[variant, max(sorted(loads), key=lambda device: loads[device])]


def _cascade_plan(
    observation: FleetObservation, parameters: PlannerParameters, use: _Use
) -> CascadePlan:
    demand_qps = planned_demand_qps(observation, use.group, parameters) * use.share.share
    seen, share = use.seen, use.share
    target = share.deferral
    is_pinned = seen.pinned_share is not None
    if is_pinned:
        target = seen.pinned_share or 0.0
    elif parameters.objective is Objective.QUALITY:
        stretched = STRETCH_MAX * share.deferral
        best = min(_best_fraction(seen, share.bypass), seen.deferral_limit(share.bypass))
        target = max(target, min(best, stretched))
    return CascadePlan(
        cascade_id=seen.cascade.cascade_id,
        demand_qps=demand_qps,
        deferral_fraction=share.deferral,
        deferral_target=target,
        confidence_threshold=seen.deferral.threshold_for(target),
        expected_quality=_expected_quality(parameters, seen, share),
        class_share=share.share,
        bypass_fraction=share.bypass,
        slo_s=seen.cascade.slo_s,
        is_pinned=is_pinned,
    )


def _best_fraction(seen: CascadeObservation, bypass: float) -> float:
    """Return the best deferral fraction at the nearest share of bypassing queries."""
    curves = [(0.0, seen.quality), *((b.fraction, b.quality) for b in seen.bypass)]
    _, curve = min(curves, key=lambda entry: abs(entry[0] - bypass))
    return curve.best_fraction


def _expected_quality(
    parameters: PlannerParameters, seen: CascadeObservation, share: CascadeShare
) -> float:
    if share.bypass <= 0.0 or parameters.objective is Objective.THRESHOLD:
        return seen.quality.quality_at(share.deferral)
    return share.value


def _reason(
    observation: FleetObservation,
    parameters: PlannerParameters,
    solution: FleetSolution,
    uses: Sequence[_Use],
) -> str:
    parts = []
    for k, group in enumerate(solution.model.problem.classes):
        mine = [u for u in uses if u.group.class_id == group.class_id and u.share.share > 0.0]
        demand_qps = planned_demand_qps(observation, mine[0].group, parameters)
        text = f"demand {demand_qps:.1f} qps, " + ", ".join(_use_text(u, len(mine)) for u in mine)
        shed = solution.final.values.get(f"u_{k}", 0.0)
        if shed > 0.5 and group.is_idle:
            text += "; its workers come with its first query"
        elif shed > 0.005:
            text += f"; {100 * shed:.0f} % exceed what the workers can serve"
        parts.append((group.class_id, text))
    text = "; ".join(f"{c}: {t}" for c, t in parts) if len(parts) > 1 else parts[0][1]
    total = solution.model.problem.num_workers
    spare = total - sum(solution.workers.values())
    parked = sum(solution.parked.values())
    if parked:
        text += f"; {parked} of {total} workers parked"
    elif spare > 0:
        text += f"; quality needs {total - spare} of {total} workers"
    return text + (", placement kept" if solution.is_kept else "")


def _use_text(use: _Use, num_uses: int) -> str:
    share = use.share
    parts = [f"{100 * share.bypass:.0f} % straight to heavy"] if share.bypass > 0.0 else []
    if share.bypass < 1.0:
        parts.append(
            f"{100 * share.deferral:.0f} % deferred" if share.deferral else "nothing is deferred"
        )
    text = ", ".join(parts)
    if num_uses == 1:
        return text
    return f"{100 * share.share:.0f} % by {use.seen.cascade.cascade_id} ({text})"
