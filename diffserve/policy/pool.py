"""The workers that serve one variant in one stage, as one load balancer sees them."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from diffserve.core import Batch, CascadeStage
from diffserve.policy.admission import PoolLoad
from diffserve.policy.leases import two_choices
from diffserve.policy.queues import DeadlineQueue
from diffserve.profiles.devices import DeviceProfiles
from diffserve.profiles.latency import LatencyProfile
from diffserve.profiles.online import LatencyEstimator

LARGEST = 1 << 30
"""Stands for the largest batch that was profiled: capacity is counted in full batches."""


@dataclass(frozen=True, slots=True)
class QueueLength:
    """What waits for a variant.

    Attributes:
        length: Queries.
        oldest_age_s: How long the longest-waiting of them has waited; 0 without any.
        due_qps: The least rate that serves them all in time; 0 without any.
    """

    length: int
    oldest_age_s: float
    due_qps: float


@dataclass(slots=True, eq=False)
class Worker:
    """One worker's state.

    Attributes:
        worker_id: Its name.
        device_type: Kind of its device.
        serves: Variants that it serves now, its placement first; none when it is not placed, not
            reachable, draining, or does not hold its variant yet.
        pools: The pools that it is a member of; several where it shares its time.
        running: Batch on its device, if any.
        free_at_s: When that batch is expected to leave the device.
        is_common: Other load balancers use it too.
        was_busy: It refused the latest batch, because it was busy for another load balancer.
        num_open: Batches of this load balancer that it has not answered in full.
        is_held: Its device is free, but it has too many of these to get another.
    """

    worker_id: str
    device_type: str = ""
    serves: tuple[str, ...] = ()
    pools: tuple[Pool, ...] = ()
    running: Batch | None = None
    free_at_s: float = 0.0
    is_common: bool = False
    was_busy: bool = False
    num_open: int = 0
    is_held: bool = False

    @property
    def is_shared(self) -> bool:
        """Whether it divides its time between several queues."""
        return len(self.pools) > 1

    @property
    def is_unused(self) -> bool:
        """Whether it serves nothing and has nothing to finish."""
        return not self.serves and self.running is None and self.num_open == 0

    def runs(self, batch: Batch) -> bool:
        """Return whether this batch is the one on its device, as far as is known."""
        return self.running is not None and self.running.batch_id == batch.batch_id


@dataclass(slots=True, eq=False)
class Pool:
    """Queue, profile and workers of one variant in one stage.

    Workers count by weight: 1 for a reference device that serves this pool alone, less for a
    slower one and for one that shares its time, more for a faster one.

    Attributes:
        variant_id: Which variant.
        estimator: Its latency profile on the reference device, refreshed from executed batches;
            the stages of one variant share it.
        batch_size_max: Planned cap.
        stage: For which stage of its cascades.
        devices: What it takes on other types of devices.
        queue: Waiting queries.
        members: Ready workers placed on this variant.
        idle: Of those, with a free device; the one idle for longest first.
        salt: Makes load balancers choose differently among common workers.
    """

    variant_id: str
    estimator: LatencyEstimator
    batch_size_max: int
    stage: CascadeStage = CascadeStage.LIGHT
    devices: DeviceProfiles | None = None
    queue: DeadlineQueue = field(default_factory=DeadlineQueue)
    members: dict[str, Worker] = field(default_factory=dict)
    idle: OrderedDict[str, None] = field(default_factory=OrderedDict)
    salt: str = ""
    _num_started: int = 0
    _weights: dict[str, float] = field(default_factory=dict)
    _lanes: dict[tuple[bool, bool, float], OrderedDict[str, None]] = field(default_factory=dict)
    _weight_sum: float = 0.0
    _busy_until_sum_s: float = 0.0
    _busy_weight_sum: float = 0.0
    _num_busy: int = 0
    _vacant_from_s: float | None = None

    @property
    def role(self) -> tuple[str, CascadeStage]:
        """Variant and stage: what distinguishes pools."""
        return (self.variant_id, self.stage)

    @property
    def profile(self) -> LatencyProfile:
        """Execution seconds by batch size on the reference device, as known now."""
        return self.estimator.profile

    @property
    def full_batch_s(self) -> float:
        """Seconds of one batch of the planned size."""
        return self.profile.execution_s(min(self.batch_size_max, self.profile.batch_size_max))

    @property
    def full_batch_qps(self) -> float:
        """Queries per second of one reference worker that always runs batches of that size."""
        size = min(self.batch_size_max, self.profile.batch_size_max)
        return self.profile.throughput_qps(size)

    @property
    def capacity(self) -> float:
        """Weights of all members, summed."""
        return self._weight_sum

    @property
    def drain_s(self) -> float:
        """Seconds in which all members together empty the queue; infinite without members."""
        if not self.members:
            return math.inf
        return len(self.queue) / (self._weight_sum * self.full_batch_qps)

    @property
    def alone_s(self) -> float:
        """Seconds of a batch of one on the fastest type of device among the members."""
        slowness = min((slowness for *_, slowness in self._lanes), default=1.0)
        return self.profile.execution_s(1) * slowness

    def slowness(self, worker: Worker, batch_size: int = LARGEST) -> float:
        """Return by which factor a batch takes longer on a worker than on the reference device."""
        if self.devices is None:
            return 1.0
        return self.devices.slowness(worker.device_type, batch_size)

    def profile_on(self, worker: Worker) -> LatencyProfile:
        """Return execution seconds by batch size on a worker."""
        if self.devices is None:
            return self.profile
        return self.devices.profile_on(worker.device_type, self.profile)

    def next_idle(self) -> Worker:
        """Return which idle worker to use: of its own before shared, fast before slow.

        Workers that other load balancers use come last. Among equal ones the one idle for longest;
        of common ones two are picked by hash, and the one with less known work is used, lest all
        load balancers run to the same. There must be one.
        """
        idle = self.idle
        if len(self._lanes) > 1:
            idle = next(self._lanes[key] for key in sorted(self._lanes) if self._lanes[key])
        worker = self.members[next(iter(idle))]
        if not worker.is_common:
            return worker
        pair = two_choices(tuple(idle), f"{self.salt}:{self._num_started}")
        return min((self.members[name] for name in pair), key=lambda w: w.free_at_s)

    def join(self, worker: Worker) -> None:
        """Add a ready worker, busy or idle, at its full speed."""
        self.members[worker.worker_id] = worker
        self._vacant_from_s = None
        weight = 1.0 / self.slowness(worker)
        self._weights[worker.worker_id] = weight
        self._weight_sum += weight
        self._lanes.setdefault(self._lane(worker), OrderedDict())
        if worker.running is None:
            self._add_idle(worker)
        else:
            self._count_busy(worker, +1)

    def leave(self, worker: Worker) -> None:
        """Remove a worker, if it is here."""
        if self.members.pop(worker.worker_id, None) is None:
            return
        if worker.worker_id in self.idle:
            self._remove_idle(worker)
        else:
            self._count_busy(worker, -1)
        self._weight_sum -= self._weights.pop(worker.worker_id)
        if not self.members:
            self._weight_sum = 0.0  # forget rounding left over from sums
            self._lanes.clear()

    def count_share(self, worker: Worker, share: float) -> None:
        """Count on a share of a member's time from now on, above 0 and at most 1."""
        weight = share / self.slowness(worker)
        if weight == self._weights[worker.worker_id]:
            return
        is_busy = worker.worker_id not in self.idle
        if is_busy:
            self._count_busy(worker, -1)
        self._weight_sum += weight - self._weights[worker.worker_id]
        self._weights[worker.worker_id] = weight
        if is_busy:
            self._count_busy(worker, +1)

    def start(self, worker: Worker, batch: Batch) -> None:
        """Mark an idle member busy with a batch of this pool."""
        worker.running, worker.was_busy = batch, False
        self._num_started += 1
        size = len(batch.query_ids)
        seconds = self.profile.execution_s(size) * self.slowness(worker, size)
        worker.free_at_s = batch.started_s + seconds
        self.occupy(worker)

    def occupy(self, worker: Worker) -> None:
        """Mark an idle member busy, with whatever pool's batch."""
        self._remove_idle(worker)
        self._count_busy(worker, +1)

    def release(self, worker: Worker) -> None:
        """Mark a busy member idle."""
        self.vacate(worker)
        worker.running = None

    def vacate(self, worker: Worker) -> None:
        """Mark a busy member idle, while others still count its batch."""
        self._count_busy(worker, -1)
        self._add_idle(worker)

    def vacant_s(self, now_s: float) -> float:
        """Return the seconds since somebody first found no member here; 0 while there is one."""
        if self.members:
            return 0.0
        if self._vacant_from_s is None:
            self._vacant_from_s = now_s
        return now_s - self._vacant_from_s

    def load(self, num_ahead: int, now_s: float) -> PoolLoad:
        """Return how busy the pool is for a query behind ``num_ahead`` others."""
        return PoolLoad(
            num_workers=self._weight_sum,
            num_idle=len(self.idle),
            busy_work_s=max(0.0, self._busy_until_sum_s - self._busy_weight_sum * now_s),
            num_ahead=num_ahead,
            batch_size_max=self.batch_size_max,
        )

    def load_without(
        self, worker: Worker, seconds: float, num_ahead: int, now_s: float
    ) -> PoolLoad:
        """Return the load if an idle member did something else for so many seconds."""
        load = self.load(num_ahead, now_s)
        weight = self._weights[worker.worker_id]
        return replace(
            load,
            num_idle=load.num_idle - 1,
            busy_work_s=load.busy_work_s + weight * seconds,
        )

    def rest(self, worker: Worker, until_s: float) -> None:
        """Count a busy member's time as taken until then, whoever took it."""
        self._count_busy(worker, -1, worker.free_at_s)
        self._count_busy(worker, +1, until_s)

    def _lane(self, worker: Worker) -> tuple[bool, bool, float]:
        return (worker.is_common, worker.is_shared, self.slowness(worker, 1))

    def _add_idle(self, worker: Worker) -> None:
        self.idle[worker.worker_id] = None
        self._lanes[self._lane(worker)][worker.worker_id] = None

    def _remove_idle(self, worker: Worker) -> None:
        del self.idle[worker.worker_id]
        del self._lanes[self._lane(worker)][worker.worker_id]

    def _count_busy(self, worker: Worker, sign: int, until_s: float | None = None) -> None:
        weight = sign * self._weights[worker.worker_id]
        self._busy_until_sum_s += weight * (worker.free_at_s if until_s is None else until_s)
        self._busy_weight_sum += weight
        self._num_busy += sign
        if self._num_busy == 0:
            self._busy_until_sum_s = 0.0  # forget rounding left over from sums
            self._busy_weight_sum = 0.0


def queue_lengths(pools: Iterable[Pool], now_s: float) -> dict[str, QueueLength]:
    """Return what waits by variant; one that serves two stages has two queues."""
    lengths: dict[str, QueueLength] = {}
    for pool in pools:
        before = lengths.get(pool.variant_id, QueueLength(0, 0.0, 0.0))
        lengths[pool.variant_id] = QueueLength(
            before.length + len(pool.queue),
            max(before.oldest_age_s, pool.queue.oldest_age_s(now_s)),
            before.due_qps + pool.queue.due_qps(now_s),
        )
    return lengths
