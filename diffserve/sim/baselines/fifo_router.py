"""The published data path: random dispatch to one FIFO queue per worker, and a drop rule.

Paper: §3.1 and the public artifact. A query goes to a random worker of its stage and stays there.
A free worker takes up to the planned batch at once. When it is about to run, a query is dropped if
it would end later than ``drop_factor`` times the SLO, counted from its arrival; its light image, if
it had one, is lost. A worker that changes its variant keeps its queue, and runs it with the new
variant.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from diffserve.core import Batch, Cascade, CascadeStage, Outcome, Plan, Query
from diffserve.planning.observation import QueueState
from diffserve.policy.actions import Action, Defer, Finish, Launch
from diffserve.profiles.latency import LatencyProfile
from diffserve.sim.system import Telemetry


@dataclass(slots=True)
class FifoWorker:
    """A worker and the queries that wait for it, oldest first.

    Attributes:
        variant_id: What it runs next; empty before its first plan.
        queue: Waiting query ids.
        running: Batch on its device.
    """

    variant_id: str = ""
    queue: deque[str] = field(default_factory=deque)
    running: Batch | None = None


class FifoRouter:
    """Implements ``sim.system.Router``; has no deadlines, no wake-ups and no retries."""

    def __init__(
        self,
        cascade: Cascade,
        profiles: Mapping[str, LatencyProfile],
        seed: int,
        *,
        drop_factor: float = 1.5,
        routes_directly: bool = False,
    ) -> None:
        """Start without plan.

        Args:
            cascade: What is served.
            profiles: Latency by variant.
            seed: Of the random dispatch.
            drop_factor: Of the SLO; see above.
            routes_directly: The planned share goes straight to the heavy variant and light answers
                are final: routing without looking at images.
        """
        self._cascade = cascade
        self._profiles = profiles
        self._random = random.Random(seed)
        self._drop_after_s = drop_factor * cascade.slo_s
        self._routes_directly = routes_directly
        self._workers: dict[str, FifoWorker] = {}
        self._lost: dict[str, None] = {}
        self._by_variant: dict[str, list[str]] = {}
        self._queries: dict[str, Query] = {}
        self._batches: dict[int, Batch] = {}
        self._plan: Plan | None = None
        self._num_arrivals = 0
        self._sequence = 0

    @property
    def plan_id(self) -> int:
        """Plan in force; 0 before the first."""
        return self._plan.plan_id if self._plan else 0

    @property
    def next_wakeup_s(self) -> float | None:
        """Never: nothing here happens by time alone."""
        return None

    def tick(self, now_s: float) -> list[Action]:
        """Do nothing."""
        del now_s
        return []

    # -- clients and plans -----------------------------------------------------------------

    def route(self, cascade_id: str) -> str:
        """Return the one cascade that it serves, whatever the class."""
        del cascade_id
        return self._cascade.cascade_id

    def submit(self, query: Query, now_s: float) -> list[Action]:
        """Queue a query at a random worker of its first stage."""
        self._num_arrivals += 1
        self._queries[query.query_id] = query
        first, second = self._cascade.light, self._cascade.heavy
        if self._routes_directly and self._random.random() < self._share():
            first, second = second, first
        # Without a light worker clients are sent straight to the heavy ones, and vice versa.
        return self._enqueue(query.query_id, first if self._hosts(first) else second, now_s)

    def apply_plan(self, plan: Plan, now_s: float) -> list[Action]:
        """Change roles at once; queues stay where they are."""
        if plan.plan_id <= self.plan_id:
            return []
        self._plan = plan
        for worker_id, variant_id in plan.placement.items():
            self._workers.setdefault(worker_id, FifoWorker()).variant_id = variant_id
        self._index()
        actions: list[Action] = []
        for worker_id in plan.placement:
            actions += self._serve(worker_id, now_s)
        return actions

    # -- workers ---------------------------------------------------------------------------

    def worker_found(self, worker_id: str, now_s: float) -> list[Action]:
        """Send queries to a worker again."""
        self._lost.pop(worker_id, None)
        self._index()
        return self._serve(worker_id, now_s) if worker_id in self._workers else []

    def worker_lost(self, worker_id: str, now_s: float) -> list[Action]:
        """Drop what a worker held: nobody else has a copy.

        The artifact goes on sending to a dead worker; sparing the baseline that is a favour.
        """
        del now_s
        self._lost[worker_id] = None
        self._index()
        worker = self._workers.get(worker_id)
        if worker is None:
            return []
        held = list(worker.queue)
        worker.queue.clear()
        for batch in [b for b in self._batches.values() if b.worker_id == worker_id]:
            held += batch.query_ids
            del self._batches[batch.batch_id]
        worker.running = None
        return [self._drop(q, "its worker was lost") for q in held if q in self._queries]

    def device_released(self, batch_id: int, execution_s: float, now_s: float) -> list[Action]:
        """Let a free worker take its next batch."""
        del execution_s
        batch = self._batches.get(batch_id)
        if batch is None:
            return []
        self._workers[batch.worker_id].running = None
        return self._serve(batch.worker_id, now_s)

    def light_ready(
        self, batch_id: int, query_id: str, percentile: float | None, now_s: float
    ) -> list[Action]:
        """Accept a light image at or above the threshold; else forward the prompt."""
        if batch_id not in self._batches:
            return []
        rank = 1.0 if self._routes_directly or percentile is None else percentile
        heavy = self._cascade.heavy
        if rank >= self._share() or not self._hosts(heavy):
            return [self._finish(query_id, Outcome.LIGHT, "confidence is above the threshold")]
        reason = "confidence is below the threshold"
        return [Defer(query_id, reason), *self._enqueue(query_id, heavy, now_s)]

    def heavy_ready(self, batch_id: int, query_id: str, now_s: float) -> list[Action]:
        """Answer with a heavy image."""
        del now_s
        if batch_id not in self._batches:
            return []
        return [self._finish(query_id, Outcome.HEAVY, "drawn by the heavy variant")]

    def batch_ended(
        self,
        batch_id: int,
        now_s: float,
        *,
        was_refused: bool = False,
        is_worker_lost: bool = False,
        busy_s: float = 0.0,
    ) -> list[Action]:
        """Forget a batch; a refused one waits at the head of its worker's queue."""
        batch = self._batches.pop(batch_id, None)
        if batch is None or not was_refused:
            return []
        worker = self._workers[batch.worker_id]
        worker.running = None
        worker.queue.extendleft(reversed(batch.query_ids))
        if is_worker_lost:
            self._lost[batch.worker_id] = None
            self._index()
        return self._serve(batch.worker_id, now_s)

    def telemetry(self, now_s: float) -> Telemetry:
        """Return what workers and clients report: queues and stages by variant."""
        waiting = dict.fromkeys((self._cascade.light, self._cascade.heavy), 0)
        in_stage = dict(waiting)
        for worker in self._workers.values():
            if worker.variant_id:
                waiting[worker.variant_id] += len(worker.queue)
        for batch in self._batches.values():
            in_stage[batch.variant_id] += len(batch.query_ids)
        return Telemetry(
            reported_s=now_s,
            num_arrivals=self._num_arrivals,
            num_in_progress=len(self._queries),
            queues={variant: QueueState(length=count) for variant, count in waiting.items()},
            num_in_stage={variant: in_stage[variant] + waiting[variant] for variant in waiting},
        )

    # -- inside ----------------------------------------------------------------------------

    def _share(self) -> float:
        plan = self._plan.cascades[self._cascade.cascade_id] if self._plan else None
        return plan.deferral_fraction if plan else 0.0

    def _hosts(self, variant_id: str) -> bool:
        return bool(self._by_variant.get(variant_id))

    def _index(self) -> None:
        self._by_variant = {}
        for worker_id, worker in self._workers.items():
            if worker_id not in self._lost:
                self._by_variant.setdefault(worker.variant_id, []).append(worker_id)

    def _enqueue(self, query_id: str, variant_id: str, now_s: float) -> list[Action]:
        candidates = self._by_variant.get(variant_id)
        if not candidates:
            return [self._drop(query_id, "no worker is alive")]
        worker_id = self._random.choice(candidates)
        self._workers[worker_id].queue.append(query_id)
        return self._serve(worker_id, now_s)

    def _serve(self, worker_id: str, now_s: float) -> list[Action]:
        """Start the next batch of a free worker, dropping what is too late on the way."""
        worker = self._workers[worker_id]
        if worker.running is not None or not worker.queue or worker_id in self._lost:
            return []
        assert self._plan is not None
        profile = self._profiles[worker.variant_id]
        size = min(len(worker.queue), self._plan.batch_size_max[worker.variant_id])
        taken = [worker.queue.popleft() for _ in range(size)]
        end_s = now_s + _assumed_s(profile, size)
        late = [q for q in taken if end_s - self._queries[q].arrival_s > self._drop_after_s]
        actions: list[Action] = [self._drop(q, "it would be too late") for q in late]
        kept = tuple(q for q in taken if q in self._queries)
        if not kept:
            return actions + self._serve(worker_id, now_s)
        return [*actions, self._launch(worker, worker_id, kept, now_s)]

    def _launch(
        self, worker: FifoWorker, worker_id: str, query_ids: tuple[str, ...], now_s: float
    ) -> Launch:
        self._sequence += 1
        batch = Batch(
            batch_id=self._sequence,
            worker_id=worker_id,
            variant_id=worker.variant_id,
            stage=self._stage_of(worker.variant_id),
            query_ids=query_ids,
            started_s=now_s,
        )
        worker.running = batch
        self._batches[batch.batch_id] = batch
        return Launch(batch)

    def _stage_of(self, variant_id: str) -> CascadeStage:
        is_light = variant_id == self._cascade.light
        return CascadeStage.LIGHT if is_light else CascadeStage.HEAVY

    def _drop(self, query_id: str, reason: str) -> Finish:
        return self._finish(query_id, Outcome.EXPIRED, reason)

    def _finish(self, query_id: str, outcome: Outcome, reason: str) -> Finish:
        del self._queries[query_id]
        return Finish(query_id, outcome, reason)


def _assumed_s(profile: LatencyProfile, size: int) -> float:
    """Return the latency that the drop rule assumes.

    The artifact's table knows sizes 1 to 8, 16 and 32, and takes size 4 for the others; kept here,
    where it decides who is dropped, but not in the time that batches take.
    """
    is_known = size <= 8 or size in (16, 32)
    return profile.execution_s(size if is_known else 4)
