"""Which worker hosts which variant: as planned, with the fewest switches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffserve.core import WorkerInfo


def place_variants(
    workers: Sequence[WorkerInfo],
    current: Mapping[str, str],
    targets: Mapping[str, int],
) -> dict[str, str]:
    """Assign variants to workers so that as few as possible switch. Pure and deterministic.

    A worker keeps its variant while that is wanted. Where a variant has more workers than wanted,
    those leave first that hold a missing variant in memory: their switch is free. Missing places
    are filled from memory first, then by worker id. The number of switches is minimal; so is the
    number of loads while two variants are in play, as within one cascade.

    Args:
        workers: The fleet; draining workers get no variant.
        current: ``worker_id`` -> ``variant_id`` of the placement in force.
        targets: ``variant_id`` -> workers wanted; earlier variants first when workers are short.

    Returns:
        ``worker_id`` -> ``variant_id``. Workers beyond the targets are left out.
    """
    fleet = sorted((w for w in workers if not w.is_draining), key=lambda w: w.worker_id)
    missing = _affordable(targets, len(fleet))
    placement: dict[str, str] = {}
    for worker in _by_reluctance(fleet, current, missing):
        variant = current.get(worker.worker_id, "")
        if missing.get(variant, 0) > 0:
            placement[worker.worker_id] = variant
            missing[variant] -= 1
    free = [w for w in fleet if w.worker_id not in placement]
    while missing:
        variant = next(iter(missing))
        count = missing.pop(variant)
        others = [v for v, wanted in missing.items() if wanted > 0]
        for worker in _by_readiness(free, variant, others)[:count]:
            placement[worker.worker_id] = variant
            free.remove(worker)
    return dict(sorted(placement.items()))


def _affordable(targets: Mapping[str, int], num_workers: int) -> dict[str, int]:
    counts = {}
    for variant, count in targets.items():
        counts[variant] = min(count, num_workers)
        num_workers -= counts[variant]
    return counts


def _by_reluctance(
    fleet: Sequence[WorkerInfo], current: Mapping[str, str], targets: Mapping[str, int]
) -> list[WorkerInfo]:
    """Order workers by what a switch would cost: loaders first, as they should keep their place."""
    hosted = [current.get(w.worker_id) for w in fleet]
    short = [v for v, count in targets.items() if count > hosted.count(v)]
    return sorted(fleet, key=lambda w: any(v in w.resident for v in short))


def _by_readiness(
    free: Sequence[WorkerInfo], variant: str, others: Sequence[str]
) -> list[WorkerInfo]:
    """Order workers: those that hold ``variant`` first, those of use to the others last.

    Equal ones stay in the order of their ids, because the sort is stable.
    """
    return sorted(
        free, key=lambda w: (variant not in w.resident, any(v in w.resident for v in others))
    )


def place_hosts(
    workers: Sequence[WorkerInfo],
    current: Mapping[str, Sequence[str]],
    targets: Mapping[tuple[str, ...], int],
    bases: Mapping[str, str],
) -> dict[str, tuple[str, ...]]:
    """Assign hosts, sets of variants that a worker serves, with few loads. Pure, deterministic.

    Cheapest changes first: workers that serve just this already, then those that hold all its
    weights, then those that lack the fewest; among equals those whose own host is not wanted, and
    then by worker id. Where every host has one variant and at most two are in play, the number of
    switches and of loads is minimal.

    Args:
        workers: Of one device type; draining ones get nothing.
        current: ``worker_id`` -> variants that it serves now, the main one first.
        targets: Variants of a host, the main one first -> workers wanted; in all at most as many
            as there are workers.
        bases: ``variant_id`` -> its weights; one that is absent has weights of its own.

    Returns:
        ``worker_id`` -> variants. Workers beyond the targets are left out.
    """
    fleet = sorted((w for w in workers if not w.is_draining), key=lambda w: w.worker_id)
    hosts = sorted(targets, key=lambda host: (-len(host), host))
    missing = {host: targets[host] for host in hosts}
    alike: dict[tuple[frozenset[str], frozenset[str]], list[str]] = {}
    for worker in fleet:
        hosted = frozenset(current.get(worker.worker_id, ()))
        held = frozenset(bases.get(v, v) for v in (*worker.resident, *hosted))
        alike.setdefault((hosted, held), []).append(worker.worker_id)
    offers = []
    for group, ((hosted, held), members) in enumerate(alike.items()):
        costs = [len({bases.get(v, v) for v in host} - held) for host in hosts]
        for h, host in enumerate(hosts):
            # A worker that is free to become nothing else is the better choice here.
            num_elsewhere = sum(1 for o, cost in enumerate(costs) if o != h and cost == 0)
            cost = -1 if hosted == set(host) else costs[h]
            offers.append((cost, num_elsewhere, group, h, members))
    placed: dict[str, tuple[str, ...]] = {}
    for _, _, _, h, members in sorted(offers, key=lambda offer: offer[:4]):
        free = [worker_id for worker_id in members if worker_id not in placed]
        for worker_id in free[: missing[hosts[h]]]:
            placed[worker_id] = hosts[h]
            missing[hosts[h]] -= 1
    return dict(sorted(placed.items()))


def count_switches(current: Mapping[str, str], new: Mapping[str, str]) -> int:
    """Return how many workers of ``new`` hosted another variant, or none, before."""
    return sum(1 for worker_id, variant in new.items() if current.get(worker_id) != variant)
