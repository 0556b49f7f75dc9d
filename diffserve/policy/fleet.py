"""All workers and the pools they form: what can run where, right now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from diffserve.core import Batch, Cascade, CascadePlan, CascadeStage, Plan
from diffserve.policy.leases import Tenure, share_of, tenure
from diffserve.policy.pool import Pool, Worker
from diffserve.policy.sharing import Role, overflow, planned_rates, time_shares
from diffserve.profiles.devices import DeviceProfiles
from diffserve.profiles.latency import LatencyProfile
from diffserve.profiles.online import LatencyEstimator

Serving = dict[str, tuple[str, ...]]
"""``worker_id`` -> variants that it serves now, its placement first."""
NUM_OPEN_MAX = 2
"""Batches of a worker that are not answered in full, the running one included. Its device is free
again before its images are encoded and scored, so one batch may execute while another is answered.
Where answering takes longer than executing, a third would only wait: it had better grow."""


class Fleet:
    """Follows the plan's placement and the reachability of workers."""

    def __init__(
        self,
        profiles: Mapping[str, LatencyProfile],
        cascades: Iterable[Cascade],
        devices: Mapping[str, Mapping[str, LatencyProfile]] | None = None,
        loadbalancer_id: str = "",
    ) -> None:
        """Make an empty pool for every variant in every stage that it has in some cascade.

        Args:
            profiles: Starting latency profile by ``variant_id``.
            cascades: What is served.
            devices: Profiles by ``variant_id``, then device type, where these are known.
            loadbalancer_id: Whose fleet: a plan may lease workers to others.
        """
        self._loadbalancer_id = loadbalancer_id
        self._resting: dict[int, tuple[float, Batch]] = {}
        self._profiles, self._devices = profiles, devices or {}
        self._cascades: tuple[Cascade, ...] = ()
        self._pools: dict[Role, Pool] = {}
        self._workers: dict[str, Worker] = {}
        self._shared: dict[str, Worker] = {}
        self._unreachable: dict[str, None] = {}
        self._plan: Plan | None = None
        self.add(cascades)

    def add(self, cascades: Iterable[Cascade]) -> None:
        """Serve further cascades too; workers join the pools that are new for what they hold."""
        self._cascades += tuple(cascades)
        known, self._pools = self._pools, self._make_pools()
        new = {variant_id for variant_id, stage in self._pools if (variant_id, stage) not in known}
        for worker in self._workers.values():
            if not new.isdisjoint(worker.serves):
                is_common = worker.is_common
                self._assign(worker, worker.serves, worker.device_type, is_common=is_common)
        self._share_time()

    def _make_pools(self) -> dict[Role, Pool]:
        """Return the pools by variant, light before heavy, those that there are kept.

        The stages of a variant learn together.
        """
        roles = {(c.variant_at(stage), stage) for c in self._cascades for stage in CascadeStage}
        pools: dict[Role, Pool] = {}
        for variant_id, profile in sorted(self._profiles.items()):
            there = [pool for pool in self._pools.values() if pool.variant_id == variant_id]
            estimator = there[0].estimator if there else LatencyEstimator(profile)
            devices = self._devices.get(variant_id)
            for stage in CascadeStage:
                if (variant_id, stage) in roles:
                    pools[variant_id, stage] = self._pools.get((variant_id, stage)) or Pool(
                        variant_id,
                        estimator,
                        there[0].batch_size_max if there else profile.batch_size_max,
                        stage,
                        DeviceProfiles(profile, devices) if devices else None,
                        salt=self._loadbalancer_id,
                    )
        return pools

    @property
    def plan(self) -> Plan | None:
        """Plan in force, if any."""
        return self._plan

    def planned(self, cascade_id: str) -> CascadePlan | None:
        """Return what the plan in force says of a cascade, if anything."""
        return self._plan.cascades.get(cascade_id) if self._plan else None

    def pool(self, variant_id: str, stage: CascadeStage | None = None) -> Pool:
        """Return the pool of a variant in a stage; without one, in the first that it has."""
        if stage is not None:
            return self._pools[variant_id, stage]
        return next(pool for pool in self._pools.values() if pool.variant_id == variant_id)

    def pools(self) -> tuple[Pool, ...]:
        """Return all pools, by variant."""
        return tuple(self._pools.values())

    def follow(self, plan: Plan) -> None:
        """Take over a newer plan's placement and batch sizes."""
        self._plan = plan
        for pool in self._pools.values():
            cap = plan.batch_size_max.get(pool.variant_id)
            if cap is not None:
                pool.batch_size_max = max(1, cap)
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
        """Mark the batch's worker, an idle member of its pool, busy in all its pools."""
        worker, pool = self._workers[batch.worker_id], self._pools[batch.variant_id, batch.stage]
        pool.start(worker, batch)
        worker.num_open += 1
        for other in worker.pools:
            if other is not pool:
                other.occupy(worker)

    def release(self, batch: Batch) -> tuple[Pool, ...]:
        """Mark the batch's device free; return the pools that gained an idle worker.

        None do while the worker has too many batches to answer; ``ended`` frees it then.
        """
        worker = self._workers[batch.worker_id]
        if not worker.runs(batch):
            return ()
        if worker.num_open >= NUM_OPEN_MAX:
            worker.is_held = True
            return ()
        return self._vacate(worker)

    def ended(self, batch: Batch) -> None:
        """Close a batch: it is answered, or never will be."""
        worker = self._workers[batch.worker_id]
        worker.num_open -= 1
        if worker.is_held or worker.runs(batch):
            self._vacate(worker)

    def _vacate(self, worker: Worker) -> tuple[Pool, ...]:
        worker.is_held = False
        for pool in worker.pools:
            pool.vacate(worker)
        worker.running = None
        return worker.pools

    def observe(self, batch: Batch, execution_s: float, *, is_stopped: bool) -> None:
        """Learn from an executed batch; a stopped one tells only how long it took at least.

        A batch is stopped when nobody waits for it any more, mostly because it was too slow.
        """
        pool, size = self._pools[batch.variant_id, batch.stage], len(batch.query_ids)
        execution_s /= pool.slowness(self._workers[batch.worker_id], size)
        if not is_stopped or execution_s > pool.profile.execution_s(size):
            pool.estimator.observe(size, execution_s)

    def rest(self, batch: Batch, until_s: float) -> None:
        """Leave a worker alone that refused a batch, because it is busy for somebody else."""
        worker = self._workers[batch.worker_id]
        worker.num_open -= 1
        if not worker.runs(batch):
            return
        for pool in worker.pools:
            pool.rest(worker, until_s)
        worker.free_at_s, worker.was_busy = until_s, True
        self._resting[batch.batch_id] = (until_s, batch)

    def wake(self, now_s: float) -> None:
        """Try again workers that have rested."""
        for until_s, batch in list(self._resting.values()):
            if until_s <= now_s:
                del self._resting[batch.batch_id]
                worker = self._workers[batch.worker_id]
                if worker.runs(batch):
                    self._vacate(worker)

    # -- placement -------------------------------------------------------------------------

    def _place(self) -> None:
        serving = self._finish_queues(self._stand_in(self._ready()))
        for worker_id in sorted({*self._workers, *serving}):
            worker = self._workers.setdefault(worker_id, Worker(worker_id))
            variants = serving.get(worker_id, ())
            kind = self._kind(worker)
            is_common = self._tenure(worker_id) is Tenure.COMMON
            state = (worker.serves, worker.device_type, worker.is_common)
            if state != (variants, kind, is_common):
                self._assign(worker, variants, kind, is_common=is_common)
        self._forget()
        self._share_time()

    def _forget(self) -> None:
        """Drop workers that left the plan and have nothing open: new ones have new names."""
        if self._plan is None:
            return
        left = {*self._workers, *self._unreachable} - set(self._plan.placement)
        for worker_id in left:
            self._unreachable.pop(worker_id, None)
            if worker_id in self._workers and self._workers[worker_id].is_unused:
                del self._workers[worker_id]

    def _tenure(self, worker_id: str) -> Tenure:
        return tenure(self._plan, worker_id, self._loadbalancer_id) if self._plan else Tenure.OWN

    def _assign(
        self, worker: Worker, variants: tuple[str, ...], kind: str, *, is_common: bool
    ) -> None:
        for pool in worker.pools:
            pool.leave(worker)
        worker.serves, worker.device_type, worker.is_common = variants, kind, is_common
        worker.pools = tuple(
            self._pools[variant_id, stage]
            for variant_id in variants
            for stage in CascadeStage
            if (variant_id, stage) in self._pools
        )
        for pool in worker.pools:
            pool.join(worker)
        self._shared.pop(worker.worker_id, None)
        if worker.is_shared or is_common:
            self._shared[worker.worker_id] = worker

    def _kind(self, worker: Worker) -> str:
        """Return a worker's type as told by the plan, or as known while it is in none."""
        info = self._plan.workers.get(worker.worker_id) if self._plan else None
        return info.kind if info else worker.device_type

    def _ready(self) -> Serving:
        """Return what each worker can run now of what it is meant to."""
        plan, serving = self._plan, {}
        for worker_id in sorted(plan.placement) if plan else ():
            assert plan is not None
            info = plan.workers[worker_id]
            if info.is_draining or worker_id in self._unreachable:
                continue
            if self._tenure(worker_id) is Tenure.FOREIGN:
                continue
            placed, *others = plan.variants_of(worker_id)
            if self._is_known(placed) and placed in info.resident:
                held = (v for v in others if self._is_known(v) and v in info.resident)
                serving[worker_id] = (placed, *held)
        return serving

    def _is_known(self, variant_id: str) -> bool:
        return any((variant_id, stage) in self._pools for stage in CascadeStage)

    def _stand_in(self, serving: Serving) -> Serving:
        """Give an essential variant without a worker one that holds it, from the largest pool.

        Between the loss of the last light worker and the next plan every query would wait, while
        heavy workers that could draw light images run on.
        """
        essential = self._essential()
        for needed in essential:
            if self._plan is None or any(needed in variants for variants in serving.values()):
                continue
            size = Counter(variants[0] for variants in serving.values())
            holders = [w for w in serving if needed in self._plan.workers[w].resident]
            spare = [w for w in holders if not any(v in essential for v in serving[w])]
            if spare:
                chosen = max(spare, key=lambda w: (size[serving[w][0]], w))
                serving[chosen] = (needed,)
        return serving

    def _essential(self) -> list[str]:
        """Return the variants that queries need first: light ones of cascades that get some."""
        planned = self._plan.cascades if self._plan else {}
        return sorted(
            {
                cascade.light
                for cascade in self._cascades
                if cascade.cascade_id not in planned or planned[cascade.cascade_id].class_share > 0
            }
        )

    def _finish_queues(self, serving: Serving) -> Serving:
        """Let workers that a plan moves away from a variant finish its queue, by time sharing.

        Only where nobody else serves it: queries that a class sent to a cascade before a plan
        dropped that cascade would otherwise wait for their deadline.
        """
        for (variant_id, stage), pool in self._pools.items():
            is_left = stage is CascadeStage.LIGHT and len(pool.queue) > 0
            if not is_left or any(variant_id in variants for variants in serving.values()):
                continue
            for worker_id in serving:
                served = self._workers[worker_id].serves if worker_id in self._workers else ()
                info = self._plan.workers[worker_id] if self._plan else None
                if variant_id in served and info is not None and variant_id in info.resident:
                    serving[worker_id] += (variant_id,)
        return serving

    def _share_time(self) -> None:
        """Tell the pools how much they may count on of workers that others use too.

        These are other pools, or other load balancers.
        """
        if not self._shared:
            return
        part = share_of(self._plan, self._loadbalancer_id) if self._plan else 1.0
        rates = planned_rates(self._plan, self._cascades)
        loads: dict[Role, float] = {}
        for role, pool in self._pools.items():
            speeds = {True: 0.0, False: 0.0}
            for worker in pool.members.values():
                speed = part if worker.is_common else 1.0
                speeds[worker.is_shared] += speed / pool.slowness(worker)
            work = part * rates.get(role, 0.0) / pool.full_batch_qps
            loads[role] = overflow(work, speeds[False], speeds[True])
        for worker in self._shared.values():
            shares = {pool.role: 1.0 for pool in worker.pools}
            if worker.is_shared:
                shares = time_shares({role: loads[role] for role in shares})
            for pool in worker.pools:
                pool.count_share(worker, shares[pool.role] * (part if worker.is_common else 1.0))
