"""What an idle worker runs next: from which of its queues, and how many. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from diffserve.core import Batch, CascadeStage, Query
from diffserve.policy.admission import predicted_wait_s
from diffserve.policy.batching import HeavyChoice, HeavyPool, LightPool, heavy_batch, next_batch
from diffserve.policy.pool import Pool, Worker


@dataclass(frozen=True, slots=True)
class Job:
    """What an idle worker shall run now.

    Attributes:
        worker: Idle.
        pool: Whose batch.
        queries: Which, at least one.
    """

    worker: Worker
    pool: Pool
    queries: tuple[Query, ...]

    @property
    def is_only_if_idle(self) -> bool:
        """Whether a worker that is busy for another load balancer shall refuse, not stage it.

        A light batch may be staged by a worker that refused before: else whoever keeps it busy is
        always first to know that it is free. A heavy one would wait too long, and has light images
        to fall back on.
        """
        is_heavy = self.pool.stage is CascadeStage.HEAVY
        return self.worker.is_common and (is_heavy or not self.worker.was_busy)

    def batch(self, batch_id: int, now_s: float) -> Batch:
        """Return it as a batch that begins now."""
        return Batch(
            batch_id=batch_id,
            worker_id=self.worker.worker_id,
            variant_id=self.pool.variant_id,
            stage=self.pool.stage,
            query_ids=tuple(query.query_id for query in self.queries),
            started_s=now_s,
            only_if_idle=self.is_only_if_idle,
            is_usual=all(query.is_usual for query in self.queries),
        )


def next_job(pool: Pool, margin_s: float, now_s: float) -> Job | float:
    """Return what an idle worker of a pool runs next, or until when it may wait for company.

    A time-shared worker serves the queue whose turn it is, which may be another pool's.

    Args:
        pool: With a waiting query and an idle worker.
        margin_s: Answers are planned this long before the deadline.
        now_s: The caller's clock.
    """
    worker, look_again_s = pool.next_idle(), math.inf
    for candidate in turns(worker, margin_s, now_s) if worker.is_shared else (pool,):
        choice = _choose(candidate, worker, margin_s, now_s)
        if choice.queries:
            return Job(worker, candidate, choice.queries)
        look_again_s = min(look_again_s, choice.look_again_s)
    return look_again_s


def hopeless(pool: Pool, margin_s: float, now_s: float) -> tuple[Query, ...]:
    """Return the waiting queries that cannot make it, where others can use the workers instead.

    Where workers would idle they run all the same: the profile may be wrong.
    """
    alone_s = pool.alone_s + margin_s
    waiting = pool.queue.by_deadline()
    late = list(takewhile(lambda query: query.deadline_s < now_s + alone_s, waiting))
    return tuple(late[: max(0, len(pool.queue) - len(pool.idle))])


def _choose(pool: Pool, worker: Worker, margin_s: float, now_s: float) -> HeavyChoice:
    """Return the next batch of a pool for a worker, sized by the worker's own speed."""
    profile = pool.profile_on(worker)
    if pool.stage is CascadeStage.LIGHT:
        light = LightPool(
            queue=pool.queue,
            profile=profile,
            batch_size_max=pool.batch_size_max,
            num_workers=pool.capacity * pool.slowness(worker),
            num_idle=len(pool.idle),
        )
        return HeavyChoice(queries=next_batch(light, margin_s, now_s))
    stage = HeavyPool(
        queue=pool.queue,
        profile=profile,
        batch_size_max=pool.batch_size_max,
        num_workers=len(pool.members),
        num_idle=len(pool.idle),
    )
    return heavy_batch(stage, margin_s, now_s)


def turns(worker: Worker, margin_s: float, now_s: float) -> list[Pool]:
    """Order the queues of a time-shared worker: first what must start soonest.

    That is its deadline less its execution. The deadline of a light image is the part of the
    query's budget that the stages' executions leave it: it must come soon enough for a heavy one.
    So neither stage starves: a deferred query is older than those that arrive, and as these wait
    their turn comes. Where both are short of time the light images go first: heavy work that would
    make a waiting light query miss its real deadline is held back, because it has an image to fall
    back on and the other has none.

    Returns:
        The pools that may run now, most urgent first; empty queues are left out.
    """
    waiting = [pool for pool in worker.pools if len(pool.queue)]
    light = [pool for pool in waiting if pool.stage is CascadeStage.LIGHT]
    heavy_s = max(
        (pool.full_batch_s for pool in worker.pools if pool.stage is CascadeStage.HEAVY),
        default=0.0,
    )
    urgent = sorted(waiting, key=lambda pool: _last_start_s(pool, worker, heavy_s, margin_s, now_s))
    return [
        pool
        for pool in urgent
        if pool.stage is CascadeStage.LIGHT
        or not any(_is_harmed(other, pool, worker, margin_s, now_s) for other in light)
    ]


def _last_start_s(
    pool: Pool, worker: Worker, heavy_s: float, margin_s: float, now_s: float
) -> float:
    """Return when a queue's next batch must start; infinity where nothing can make it."""
    profile = pool.profile_on(worker)
    cap = min(pool.batch_size_max, profile.batch_size_max)
    batch_s = profile.execution_s(min(cap, len(pool.queue)))
    query = _first_feasible(pool.queue.by_deadline(), now_s + margin_s + profile.execution_s(1))
    if query is None:
        return math.inf
    end_s = query.deadline_s - margin_s
    if pool.stage is CascadeStage.LIGHT:
        part = batch_s / (batch_s + heavy_s)
        end_s = query.arrival_s + part * (end_s - query.arrival_s)
    return end_s - batch_s


def _first_feasible(queue: Iterable[Query], from_s: float) -> Query | None:
    return next((query for query in queue if query.deadline_s >= from_s), None)


def _is_harmed(light: Pool, heavy: Pool, worker: Worker, margin_s: float, now_s: float) -> bool:
    """Whether a heavy batch on this worker now would make a waiting light query late.

    Asked of the first that can make it and of the last: those in between have time in between.
    They wait for this worker, or for another that serves them.
    """
    profile = light.profile_on(worker)
    alone_s = profile.execution_s(1)
    first = _first_feasible(light.queue.by_deadline(), now_s + margin_s + alone_s)
    if first is None:
        return False
    heavy_profile = heavy.profile_on(worker)
    size = min(len(heavy.queue), heavy.batch_size_max, heavy_profile.batch_size_max)
    heavy_s = heavy_profile.execution_s(size)
    due = ((0, first.deadline_s), (len(light.queue) - 1, light.queue.latest_deadline_s))
    for num_ahead, deadline_s in due:
        load = light.load_without(worker, heavy_s, num_ahead, now_s)
        wait_s = predicted_wait_s(load, light.profile)
        if now_s + wait_s + alone_s > deadline_s - margin_s:
            return True
    return False
