"""Which workers each of several load balancers may use. Pure.

A worker that one load balancer owns is bound as late as if there were no others. Where a load
balancer would own too few workers of a kind, these are *common*: everybody uses them, and a worker
that is busy for another says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from zlib import crc32

from diffserve.core import Plan

LEASE_MIN = 1
"""Fewest workers of a kind that a load balancer owns; below that it uses the common ones. Owning
one of two is better than having both in common: nobody else keeps it busy."""
SHARE_MIN = 0.02
"""Part of an equal share that a load balancer without arrivals counts for: it must serve its first
query too."""
BUSY_MIN_S = 0.02
"""A worker that refused a batch because it is busy is tried again after this long, at the least."""
EARLY = 0.7
"""Part of a busy worker's expected time after which it is tried again: estimates err, and whoever
keeps it busy is first to know that it is free."""
MEMORY = 0.7
"""Weight of the arrivals before the newest interval."""
_ROUND_UP = 0.25
"""A lease may exceed its quota by this much, so that equal shares leave nothing over."""
_LACK_MAX = 0.5
"""Most that a lease may fall short of its quota without common workers to make up for it."""
_KEEP_ABOVE, _KEEP_BELOW = 0.5, 1.25
"""A lease is kept while it exceeds its quota by less, or falls short of it by less."""


class Tenure(Enum):
    """How a load balancer stands to a worker."""

    OWN = "own"
    COMMON = "common"
    FOREIGN = "foreign"


def tenure(plan: Plan, worker_id: str, loadbalancer_id: str) -> Tenure:
    """Return whether a load balancer may use a worker, and whether others do.

    To one that the plan does not know yet every worker is common. Without any other, all are its
    own.
    """
    if loadbalancer_id not in plan.shares:
        return Tenure.COMMON if plan.shares else Tenure.OWN
    owner = plan.owners.get(worker_id, "")
    if owner == loadbalancer_id or len(plan.shares) == 1:
        return Tenure.OWN
    return Tenure.FOREIGN if owner else Tenure.COMMON


def share_of(plan: Plan, loadbalancer_id: str) -> float:
    """Return a load balancer's part of the planned demand; an equal one if it is unknown."""
    return plan.shares.get(loadbalancer_id, 1.0 / (len(plan.shares) + 1))


def two_choices(names: tuple[str, ...], text: str) -> tuple[str, str]:
    """Return two of the names, different where there are two, picked by a hash of a text."""
    first = crc32(text.encode()) % len(names)
    if len(names) == 1:
        return names[0], names[0]
    step = 1 + crc32(f"{text}:second".encode()) % (len(names) - 1)
    return names[first], names[(first + step) % len(names)]


@dataclass(slots=True)
class ArrivalShares:
    """Each load balancer's share of the arrivals, the recent ones counting most."""

    _counters: dict[str, int] = field(default_factory=dict)
    _recent: dict[str, float] = field(default_factory=dict)

    def observe(self, counters: Mapping[str, int]) -> None:
        """Take in arrivals so far by ``loadbalancer_id``; those left out are gone.

        A new one counts like the mean of the others until its second report; a counter that fell
        starts again.
        """
        known = [self._recent[b] for b in counters if b in self._recent]
        mean = sum(known) / len(known) if known else 1.0
        recent = {}
        for loadbalancer_id, count in sorted(counters.items()):
            before = self._counters.get(loadbalancer_id)
            if before is None or loadbalancer_id not in self._recent:
                recent[loadbalancer_id] = mean
            else:
                fresh = count - before if count >= before else 0
                recent[loadbalancer_id] = MEMORY * self._recent[loadbalancer_id] + fresh
        self._counters, self._recent = dict(counters), recent

    def shares(self) -> dict[str, float]:
        """Return the shares, each above 0, summing to 1; empty without load balancers."""
        if not self._recent:
            return {}
        mean = sum(self._recent.values()) / len(self._recent) or 1.0
        weights = {b: max(SHARE_MIN * mean, recent) for b, recent in self._recent.items()}
        total = sum(weights.values())
        return {b: weight / total for b, weight in weights.items()}


def with_leases(
    plan: Plan, previous: Plan | None, shares: Mapping[str, float], least: int = LEASE_MIN
) -> Plan:
    """Return a plan with an owner for each worker that is not common.

    Workers alike (what they serve, on which device) are divided in proportion to the shares; few
    change their owner.

    Args:
        plan: Without leases.
        previous: The plan in force; its owners stay as far as possible.
        shares: ``loadbalancer_id`` -> share of the arrivals; at most one: no lease is needed.
        least: Fewest workers alike that somebody owns.
    """
    if len(shares) < 2:
        return replace(plan, owners={}, shares=dict(shares))
    owned = previous.owners if previous else {}
    alike: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for worker_id in sorted(plan.placement):
        kind = plan.workers[worker_id].kind if worker_id in plan.workers else ""
        alike.setdefault((plan.variants_of(worker_id), kind), []).append(worker_id)
    owners: dict[str, str] = {}
    for workers in alike.values():
        owners |= _divide(workers, owned, shares, least)
    return replace(plan, owners=dict(sorted(owners.items())), shares=dict(sorted(shares.items())))


def _divide(
    workers: list[str], owned: Mapping[str, str], shares: Mapping[str, float], least: int
) -> dict[str, str]:
    """Return the owners of workers that are all alike; the rest of them is common."""
    before = [owned.get(worker_id, "") for worker_id in workers]
    missing = lease_sizes(len(workers), {b: before.count(b) for b in shares}, shares, least)
    owners: dict[str, str] = {}
    for worker_id, owner in zip(workers, before, strict=True):
        if missing.get(owner, 0) > 0:
            owners[worker_id] = owner
            missing[owner] -= 1
    free = iter([worker_id for worker_id in workers if worker_id not in owners])
    for loadbalancer_id, count in sorted(missing.items()):
        owners |= {next(free): loadbalancer_id for _ in range(count)}
    return owners


def lease_sizes(
    num_workers: int, before: Mapping[str, int], shares: Mapping[str, float], least: int
) -> dict[str, int]:
    """Return how many of so many workers each load balancer owns.

    Args:
        num_workers: How many there are, all alike.
        before: How many of them each owns now; kept while that is about right.
        shares: ``loadbalancer_id`` -> share, above 0.
        least: Smaller leases than this are none; at least one worker is common then.
    """
    quotas = {b: num_workers * share for b, share in sorted(shares.items())}
    sizes = {}
    for b, quota in quotas.items():
        is_right = quota - _KEEP_BELOW < before.get(b, 0) < quota + _KEEP_ABOVE
        size = before[b] if before.get(b, 0) and is_right else int(quota + _ROUND_UP)
        sizes[b] = size if size >= max(1, least) else 0
    num_common = num_workers - sum(sizes.values())
    lacking = max((quotas[b] - size for b, size in sizes.items()), default=0.0)
    if 0 in sizes.values() or num_common < 0 or lacking > max(_LACK_MAX, num_common):
        # Nobody owns more than its part, so that those that own less find the rest in common.
        sizes = {b: min(size, int(quotas[b])) for b, size in sizes.items()}
        sizes = {b: size if size >= max(1, least) else 0 for b, size in sizes.items()}
    return sizes
