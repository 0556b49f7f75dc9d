"""Execution times as measured by the workers, per kind of device."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from diffserve.core import WorkerInfo
from diffserve.profiles.latency import LatencyProfile
from diffserve.profiles.online import LatencyEstimator

NUM_EXECUTIONS_MIN = 3
"""Fewer executions than this say little: the first ones after a load run cold."""


def device_kind(device: str, device_type: str = "") -> str:
    """Return the type, or ``cuda`` for ``cuda:1``: devices of one kind share a profile."""
    return device_type or device.partition(":")[0]


@dataclass(frozen=True, slots=True)
class ProfileKey:
    """What a measured profile belongs to."""

    device: str
    variant_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One worker's median of one batch size, seconds."""

    variant_id: str
    batch_size: int
    execution_s: float
    num_executions: int


class LatencyBook:
    """Medians over the workers of a device kind, and the profiles that follow from them.

    The median over workers keeps one slow or throttled machine from changing everybody's plan.
    What was measured outlives the worker that measured it.
    """

    def __init__(
        self,
        catalog: Mapping[str, LatencyProfile],
        by_device: Mapping[str, Mapping[str, LatencyProfile]] | None = None,
    ) -> None:
        """Start from the catalog.

        Args:
            catalog: By ``variant_id``.
            by_device: By ``variant_id``, then kind of device, where the catalog knows them.
        """
        self._catalog = catalog
        self._by_device = by_device or {}
        self._by_worker: dict[ProfileKey, dict[int, dict[str, float]]] = {}
        self._medians: dict[ProfileKey, dict[int, float]] = {}
        self._unsaved: set[ProfileKey] = set()

    def report(self, worker_id: str, kind: str, measurements: Iterable[Measurement]) -> None:
        """Take in what a worker measured; variants that the catalog lacks are ignored."""
        for m in measurements:
            if m.variant_id not in self._catalog or m.num_executions < NUM_EXECUTIONS_MIN:
                continue
            key = ProfileKey(kind, m.variant_id)
            workers = self._by_worker.setdefault(key, {}).setdefault(m.batch_size, {})
            workers[worker_id] = m.execution_s
            median_s = statistics.median(workers.values())
            self._medians.setdefault(key, {})[m.batch_size] = median_s
            self._unsaved.add(key)

    def keep_workers(self, worker_ids: Iterable[str]) -> None:
        """Drop the single values of all other workers; the medians stay."""
        kept = set(worker_ids)
        for sizes in self._by_worker.values():
            for size, workers in sizes.items():
                sizes[size] = {w: s for w, s in workers.items() if w in kept}

    def restore(self, device: str, variant_id: str, seconds: Mapping[int, float]) -> None:
        """Take in medians from before a restart; newer ones win."""
        known = self._medians.setdefault(ProfileKey(device, variant_id), {})
        known.update({size: s for size, s in seconds.items() if size not in known})

    def unsaved(self) -> tuple[tuple[ProfileKey, Mapping[int, float]], ...]:
        """Return the medians that changed since ``mark_saved``."""
        keys = sorted(self._unsaved, key=lambda key: (key.device, key.variant_id))
        return tuple((key, dict(self._medians[key])) for key in keys)

    def mark_saved(self, saved: Iterable[tuple[ProfileKey, Mapping[int, float]]]) -> None:
        """Forget that these were unsaved, unless they changed meanwhile."""
        for key, seconds in saved:
            if self._medians[key] == seconds:
                self._unsaved.discard(key)

    def profile(self, variant_id: str, device: str) -> LatencyProfile:
        """Return the profile of a variant on a kind of device; the catalog's until measured."""
        known = self._by_device.get(variant_id, {})
        estimator = LatencyEstimator(known.get(device, self._catalog[variant_id]))
        measured = self._medians.get(ProfileKey(device, variant_id), {})
        for batch_size in sorted(measured):
            estimator.observe(batch_size, measured[batch_size])
        return estimator.profile


def common_device(workers: Sequence[WorkerInfo]) -> str:
    """Return the kind of device that most workers have; ``cpu`` without workers.

    What is shown to people of a mixed fleet is its majority.
    """
    counts = Counter(w.kind for w in workers)
    return min(counts, key=lambda kind: (-counts[kind], kind), default="cpu")
