"""Which waiting queries run together now. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from diffserve.core import Query
from diffserve.policy.queues import DeadlineQueue
from diffserve.profiles.latency import LatencyProfile

RESERVE_SHARE = 0.25
"""Idle share of the heavy workers up to which small batches wait for company."""
RESERVE_S = 0.1
"""A waiting batch is launched this long before its last moment."""
BATCHING_GAIN_MIN = 0.1
"""Least gain in throughput for which a batch waits to grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LightPool:
    """The light stage at the moment of a decision.

    Attributes:
        queue: Waiting queries; those that cannot meet their deadline were taken out.
        profile: Execution seconds by batch size.
        batch_size_max: Planned cap, at least 1.
        num_workers: Workers that serve the variant, in units of the one that is to run the batch.
        num_idle: Of the workers, free; at least 1.
    """

    queue: DeadlineQueue
    profile: LatencyProfile
    batch_size_max: int
    num_workers: float
    num_idle: int = 1

    @property
    def cap(self) -> int:
        """Largest batch that is planned and profiled, and leaves other idle workers their part."""
        part = math.ceil(len(self.queue) / self.num_idle)
        return max(1, min(self.batch_size_max, self.profile.batch_size_max, part))


def next_batch(pool: LightPool, margin_s: float, now_s: float) -> tuple[Query, ...]:
    """Choose the batch to launch now on a free worker. Pure.

    Takes the head and those behind it that may share its batch, as many as still meet the
    head's deadline. A free worker never waits for company: the planned size is only a cap.
    Paper: §3.1 (batching); docs/divergences.md.

    A small batch for a head in a hurry costs those behind it time. Where it would cost more of them
    their deadlines than are in a hurry, the batch is as large as can be and these are left out:
    else a pool that is short of time would lose more and more of it.

    Args:
        pool: The stage.
        margin_s: Answers are planned this long before the deadline.
        now_s: The caller's clock.

    Returns:
        0..batch_size_max queries in order of service; empty only when nothing waits.
    """
    batch = _with_head(pool, margin_s, now_s)
    if len(batch) >= min(pool.cap, len(pool.queue)):
        return batch
    large = _without_hurried(pool, margin_s, now_s)
    num_left_out = sum(query not in large for query in batch)
    if len(large) <= len(batch) or _num_delayed(pool, batch, margin_s, now_s) <= num_left_out:
        return batch
    return large


def _with_head(pool: LightPool, margin_s: float, now_s: float) -> tuple[Query, ...]:
    head: Query | None = None
    batch: list[Query] = []
    tightest_s = 0.0
    for query in pool.queue:
        if head is None:
            head, tightest_s = query, query.deadline_s
        elif query.compat_key != head.compat_key:
            continue
        if batch:
            end_s = now_s + pool.profile.execution_s(len(batch) + 1) + margin_s
            if end_s > tightest_s:
                break
            if end_s > query.deadline_s:
                continue  # due earlier than some of higher priority: alone it may still make it
        tightest_s = min(tightest_s, query.deadline_s)
        batch.append(query)
        if len(batch) == pool.cap:
            break
    return tuple(batch)


def _num_delayed(pool: LightPool, batch: Sequence[Query], margin_s: float, now_s: float) -> int:
    """Return how many that wait would be late for this batch not being a full one."""
    full_s = pool.profile.execution_s(pool.cap) / pool.num_workers
    alone_s = pool.profile.execution_s(len(batch)) / pool.num_workers
    added_s = alone_s - full_s * len(batch) / pool.cap
    count = 0
    for position, query in enumerate(pool.queue):
        end_s = now_s + margin_s + full_s * (position // pool.cap + 1)
        count += position >= len(batch) and end_s <= query.deadline_s < end_s + added_s
    return count


def _without_hurried(pool: LightPool, margin_s: float, now_s: float) -> tuple[Query, ...]:
    """Return the largest batch of queries that can all make it in a batch of that size."""
    size = _affordable_size(pool.queue, pool.profile, pool.cap, margin_s, now_s)
    earliest_s = now_s + margin_s + pool.profile.execution_s(size)
    return _alike((query for query in pool.queue if query.deadline_s >= earliest_s), size)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeavyChoice:
    """What to do with a free heavy worker.

    Attributes:
        queries: The batch to launch; empty to wait for company.
        look_again_s: When to decide anew at the latest, if it waits.
    """

    queries: tuple[Query, ...] = ()
    look_again_s: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class HeavyPool:
    """The heavy stage at the moment of a decision.

    Attributes:
        queue: Deferred queries, ranked by the percentile of their light images; not empty.
        profile: Execution seconds by batch size.
        batch_size_max: Planned cap, at least 1.
        num_workers: Workers that serve the variant.
        num_idle: Of those, free; at least 1.
    """

    queue: DeadlineQueue
    profile: LatencyProfile
    batch_size_max: int
    num_workers: int
    num_idle: int


def heavy_batch(pool: HeavyPool, margin_s: float, now_s: float) -> HeavyChoice:
    """Choose what a free heavy worker runs now. Pure.

    The batch is as large as the idle workers make necessary: with many of them each takes few
    queries and answers soon, with one it takes the planned cap. Only queries that can make it in a
    batch of that size take part, so that a late one never shrinks the batch of the others when the
    stage is short of capacity; a smaller batch is formed when too few remain. First come those that
    would miss the next free worker, then the rest; within each the worst light image, since it
    gains most. So when the heavy stage cannot serve all, what is given up is the least quality.

    While nearly all workers are busy, a batch below the cap waits for company as long as every
    query in it can: a worker spent on one query serves at half the rate of a full one.

    Args:
        pool: The stage.
        margin_s: Answers are planned this long before the deadline.
        now_s: The caller's clock.
    """
    profile, cap = pool.profile, min(pool.batch_size_max, pool.profile.batch_size_max)
    needed = min(cap, math.ceil(len(pool.queue) / pool.num_idle))
    size = _affordable_size(pool.queue, profile, needed, margin_s, now_s)
    execution_s = profile.execution_s(size)
    next_free_s = profile.execution_s(cap) / pool.num_workers
    earliest_s = now_s + margin_s + execution_s
    queries = _alike(_by_need(pool.queue, earliest_s, earliest_s + next_free_s), size)
    if not queries:
        # Nothing can make it by the profile; only execution can tell whether that is right.
        queries = _alike(pool.queue.by_rank(), 1)
    is_scarce = pool.num_idle <= RESERVE_SHARE * pool.num_workers
    if is_scarce and len(queries) < cap and batching_pays(profile, len(queries)):
        grown_s = profile.execution_s(len(queries) + 1)
        last_s = min(query.deadline_s for query in queries) - margin_s - grown_s - RESERVE_S
        if last_s > now_s and len(pool.queue) < cap:
            return HeavyChoice(look_again_s=last_s)
    return HeavyChoice(queries=queries)


def batching_pays(profile: LatencyProfile, batch_size: int) -> bool:
    """Whether one query more makes a worker notably faster per query."""
    gain = profile.throughput_qps(batch_size + 1) / profile.throughput_qps(batch_size)
    return gain > 1.0 + BATCHING_GAIN_MIN


def _affordable_size(
    queue: DeadlineQueue, profile: LatencyProfile, largest: int, margin_s: float, now_s: float
) -> int:
    """Return the largest size, of at most so many, for which enough queries have the time."""
    for size in range(min(largest, len(queue)), 1, -1):
        earliest_s = now_s + margin_s + profile.execution_s(size)
        if len(queue) - queue.num_due_before(earliest_s) >= size:
            return size
    return 1


def _by_need(queue: DeadlineQueue, earliest_s: float, urgent_s: float) -> Iterator[Query]:
    """Yield queries due from ``earliest_s`` on: those due before ``urgent_s`` first, by rank."""
    urgent = queue.due_between(earliest_s, urgent_s)
    yield from sorted(urgent, key=lambda query: (query.priority, queue.rank(query.query_id)))
    yield from (query for query in queue.by_rank() if query.deadline_s >= urgent_s)


def _alike(queries: Iterable[Query], count: int) -> tuple[Query, ...]:
    """Return the first query and those after it that may share its batch, ``count`` at most."""
    batch: list[Query] = []
    for query in queries:
        if not batch or query.compat_key == batch[0].compat_key:
            batch.append(query)
        if len(batch) == count:
            break
    return tuple(batch)
