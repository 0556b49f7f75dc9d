"""All workers and the pools they form: what can run where, right now."""

from __future__ import annotations

from collections.abc import Mapping

from diffserve.core import Batch, Plan
from diffserve.policy.pool import Pool, Worker
from diffserve.profiles.latency import LatencyProfile
from diffserve.profiles.online import LatencyEstimator


class Fleet:
    """Follows the plan's placement and the reachability of workers."""

    def __init__(self, profiles: Mapping[str, LatencyProfile]) -> None:
        """Make an empty pool for every variant, with its starting latency profile."""
        self._pools = {
            variant_id: Pool(variant_id, LatencyEstimator(profile), profile.batch_size_max)
            for variant_id, profile in sorted(profiles.items())
        }
        self._workers: dict[str, Worker] = {}
        self._unreachable: dict[str, None] = {}
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan | None:
        """Plan in force, if any."""
        return self._plan

    def pool(self, variant_id: str) -> Pool:
        """Return the pool of a variant."""
        return self._pools[variant_id]

    def pools(self) -> tuple[Pool, ...]:
        """Return all pools, by variant."""
        return tuple(self._pools.values())

    def follow(self, plan: Plan) -> None:
        """Take over a newer plan's placement and batch sizes."""
        self._plan = plan
        for variant_id, batch_size_max in plan.batch_size_max.items():
            if variant_id in self._pools:
                self._pools[variant_id].batch_size_max = max(1, batch_size_max)
        self._place()

    def found(self, worker_id: str) -> None:
        """Use a worker (again): it answers."""
        self._unreachable.pop(worker_id, None)
        self._place()

    def lost(self, worker_id: str) -> None:
        """Stop using a worker until it is found."""
        self._unreachable[worker_id] = None
        self._place()

    def start(self, batch: Batch) -> None:
        """Mark the batch's worker, an idle member of its pool, busy."""
        self._pools[batch.variant_id].start(self._workers[batch.worker_id], batch)

    def release(self, batch: Batch) -> Pool | None:
        """Mark the batch's device free; return the pool that gained an idle worker, if one did."""
        worker = self._workers[batch.worker_id]
        if worker.running is None or worker.running.batch_id != batch.batch_id:
            return None
        if not worker.is_ready:
            worker.running = None
            return None
        pool = self._pools[worker.variant_id]
        pool.release(worker)
        return pool

    def _place(self) -> None:
        placement = self._plan.placement if self._plan else {}
        for worker_id in sorted({*self._workers, *placement}):
            worker = self._workers.setdefault(worker_id, Worker(worker_id))
            variant_id = placement.get(worker_id, "")
            is_ready = self._is_ready(worker_id, variant_id)
            if (variant_id, is_ready) == (worker.variant_id, worker.is_ready):
                continue
            if worker.is_ready:
                self._pools[worker.variant_id].leave(worker)
            worker.variant_id, worker.is_ready = variant_id, is_ready
            if is_ready:
                self._pools[variant_id].join(worker)

    def _is_ready(self, worker_id: str, variant_id: str) -> bool:
        """Return whether a worker is reachable, takes work, and holds its variant."""
        info = self._plan.workers.get(worker_id) if self._plan else None
        return (
            info is not None
            and not info.is_draining
            and worker_id not in self._unreachable
            and variant_id in info.resident
            and variant_id in self._pools
        )
