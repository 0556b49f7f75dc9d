"""All workers and the pools they form: what can run where, right now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from diffserve.core import Batch, Plan
from diffserve.policy.pool import Pool, Worker
from diffserve.profiles.latency import LatencyProfile
from diffserve.profiles.online import LatencyEstimator


class Fleet:
    """Follows the plan's placement and the reachability of workers."""

    def __init__(
        self, profiles: Mapping[str, LatencyProfile], essential: Iterable[str] = ()
    ) -> None:
        """Make an empty pool for every variant.

        Args:
            profiles: Starting latency profile by ``variant_id``.
            essential: Variants that every query needs: the light ones.
        """
        self._essential = tuple(sorted(set(essential)))
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
        if not worker.variant_id:
            worker.running = None
            return None
        pool = self._pools[worker.variant_id]
        pool.release(worker)
        return pool

    def _place(self) -> None:
        serving = self._stand_in(self._ready())
        for worker_id in sorted({*self._workers, *serving}):
            worker = self._workers.setdefault(worker_id, Worker(worker_id))
            variant_id = serving.get(worker_id, "")
            if variant_id == worker.variant_id:
                continue
            if worker.variant_id:
                self._pools[worker.variant_id].leave(worker)
            worker.variant_id = variant_id
            if variant_id:
                self._pools[variant_id].join(worker)

    def _ready(self) -> dict[str, str]:
        """Return worker -> placed variant, for those that can run it now."""
        if self._plan is None:
            return {}
        return {
            worker_id: variant_id
            for worker_id, variant_id in sorted(self._plan.placement.items())
            if variant_id in self._pools
            and variant_id in self._plan.workers[worker_id].resident
            and not self._plan.workers[worker_id].is_draining
            and worker_id not in self._unreachable
        }

    def _stand_in(self, serving: dict[str, str]) -> dict[str, str]:
        """Give an essential variant without a worker one that holds it, from the largest pool.

        Between the loss of the last light worker and the next plan every query would wait, while
        heavy workers that could draw light images run on.
        """
        for needed in self._essential:
            if self._plan is None or needed in serving.values():
                continue
            size = Counter(serving.values())
            holders = [w for w in serving if needed in self._plan.workers[w].resident]
            spare = [w for w in holders if serving[w] not in self._essential]
            if spare:
                serving[max(spare, key=lambda w: (size[serving[w]], w))] = needed
        return serving
