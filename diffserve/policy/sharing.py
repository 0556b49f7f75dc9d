"""Which part of a time-shared worker each of its pools may count on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from diffserve.core import Cascade, CascadeStage, Plan

Role = tuple[str, CascadeStage]
"""A variant in one stage: ``(variant_id, stage)``; one queue, one pool."""
SHARE_MIN = 0.05
"""Least share: a pool that is crowded out by plan still gets the others' idle moments."""


def planned_rates(plan: Plan | None, cascades: Iterable[Cascade]) -> dict[Role, float]:
    """Return the queries per second that the plan expects of each pool."""
    rates: dict[Role, float] = {}
    for cascade in cascades:
        planned = plan.cascades.get(cascade.cascade_id) if plan else None
        if planned is None:
            continue
        light_qps = planned.demand_qps * (1.0 - planned.bypass_fraction)
        heavy_qps = planned.demand_qps - light_qps + light_qps * planned.deferral_fraction
        light: Role = (cascade.light, CascadeStage.LIGHT)
        heavy: Role = (cascade.heavy, CascadeStage.HEAVY)
        rates[light] = rates.get(light, 0.0) + light_qps
        rates[heavy] = rates.get(heavy, 0.0) + heavy_qps
    return rates


def overflow(work: float, dedicated: float, shared: float) -> float:
    """Return the share of every time-shared worker that a pool's planned work takes, 0..1.

    Workers of its own are used first; what they cannot carry is spread over the shared ones.

    Args:
        work: Planned work, in seconds of a reference worker per second.
        dedicated: Speeds of the workers that serve nothing else, summed.
        shared: Speeds of its time-shared workers, summed.
    """
    if shared <= 0.0:
        return 0.0
    return min(1.0, max(0.0, work - dedicated) / shared)


def time_shares(loads: Mapping[Role, float]) -> dict[Role, float]:
    """Return which share of a worker's time each of its pools may count on.

    That is what those that go first leave of it. Light images go before heavy ones where a
    deadline is at stake (``policy.dispatch``), since without one a query has no answer at all;
    where the plan asks for more of them than a worker has time, they get their parts of it. Shares
    may sum to more than 1: time that nobody needs by plan is anybody's.

    Args:
        loads: Share of its time that the plan needs for each pool that it serves.
    """
    shares = {}
    for role, load in loads.items():
        is_light = role[1] is CascadeStage.LIGHT
        ahead = sum(
            other_load
            for other, other_load in loads.items()
            if other != role and (other[1] is CascadeStage.LIGHT or not is_light)
        )
        part = load / (load + ahead) if is_light and load > 0.0 else 0.0
        shares[role] = max(SHARE_MIN, 1.0 - ahead, part)
    return shares
