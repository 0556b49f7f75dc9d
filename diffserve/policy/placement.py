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


def count_switches(current: Mapping[str, str], new: Mapping[str, str]) -> int:
    """Return how many workers of ``new`` hosted another variant, or none, before."""
    return sum(1 for worker_id, variant in new.items() if current.get(worker_id) != variant)
