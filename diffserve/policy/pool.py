"""The workers that serve one variant, as one load balancer sees them."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field

from diffserve.core import Batch
from diffserve.policy.admission import PoolLoad
from diffserve.policy.queues import DeadlineQueue
from diffserve.profiles.latency import LatencyProfile
from diffserve.profiles.online import LatencyEstimator


@dataclass(slots=True)
class Worker:
    """One worker's state.

    Attributes:
        worker_id: Its name.
        variant_id: What it serves now; empty when it is not placed, not reachable, draining, or
            does not hold its variant yet.
        running: Batch on its device, if any.
        free_at_s: When that batch is expected to leave the device.
    """

    worker_id: str
    variant_id: str = ""
    running: Batch | None = None
    free_at_s: float = 0.0


@dataclass(slots=True)
class Pool:
    """Queue, profile and workers of one variant.

    Attributes:
        variant_id: Which variant.
        estimator: Its latency profile, refreshed from executed batches.
        batch_size_max: Planned cap.
        queue: Waiting queries.
        members: Ready workers placed on this variant.
        idle: Of those, with a free device; the one idle for longest first.
    """

    variant_id: str
    estimator: LatencyEstimator
    batch_size_max: int
    queue: DeadlineQueue = field(default_factory=DeadlineQueue)
    members: dict[str, Worker] = field(default_factory=dict)
    idle: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _busy_until_sum_s: float = 0.0
    _num_busy: int = 0

    @property
    def profile(self) -> LatencyProfile:
        """Execution seconds by batch size, as known now."""
        return self.estimator.profile

    @property
    def full_batch_s(self) -> float:
        """Seconds of one batch of the planned size."""
        return self.profile.execution_s(min(self.batch_size_max, self.profile.batch_size_max))

    @property
    def drain_s(self) -> float:
        """Seconds in which all members together empty the queue; infinite without members."""
        if not self.members:
            return math.inf
        size = min(self.batch_size_max, self.profile.batch_size_max)
        return len(self.queue) / (len(self.members) * self.profile.throughput_qps(size))

    def join(self, worker: Worker) -> None:
        """Add a ready worker, busy or idle."""
        self.members[worker.worker_id] = worker
        if worker.running is None:
            self.idle[worker.worker_id] = None
        else:
            self._count_busy(worker, +1)

    def leave(self, worker: Worker) -> None:
        """Remove a worker, if it is here."""
        if self.members.pop(worker.worker_id, None) is None:
            return
        if self.idle.pop(worker.worker_id, "absent") == "absent":
            self._count_busy(worker, -1)

    def start(self, worker: Worker, batch: Batch) -> None:
        """Mark an idle member busy with a batch."""
        del self.idle[worker.worker_id]
        worker.running = batch
        worker.free_at_s = batch.started_s + self.profile.execution_s(len(batch.query_ids))
        self._count_busy(worker, +1)

    def release(self, worker: Worker) -> None:
        """Mark a busy member idle."""
        self._count_busy(worker, -1)
        worker.running = None
        self.idle[worker.worker_id] = None

    def load(self, num_ahead: int, now_s: float) -> PoolLoad:
        """Return how busy the pool is for a query behind ``num_ahead`` others."""
        return PoolLoad(
            num_workers=len(self.members),
            num_idle=len(self.idle),
            busy_work_s=max(0.0, self._busy_until_sum_s - self._num_busy * now_s),
            num_ahead=num_ahead,
            batch_size_max=self.batch_size_max,
        )

    def _count_busy(self, worker: Worker, sign: int) -> None:
        self._busy_until_sum_s += sign * worker.free_at_s
        self._num_busy += sign
        if self._num_busy == 0:
            self._busy_until_sum_s = 0.0  # forget rounding left over from sums
