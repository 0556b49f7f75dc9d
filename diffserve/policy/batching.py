"""Which waiting queries run together now. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from diffserve.core import Query
from diffserve.profiles.latency import LatencyProfile


def next_batch(
    waiting: Iterable[Query], profile: LatencyProfile, batch_size_max: int, now_s: float
) -> tuple[Query, ...]:
    """Choose the batch to launch now on a free worker.

    Takes the head and those behind it that may share its batch, as many as still meet the
    head's deadline. A free worker never waits for company: the planned size is only a cap.
    Paper: §3.1 (batching); docs/divergences.md.

    Args:
        waiting: In order of service; those that cannot meet their deadline were taken out.
        profile: Execution seconds by batch size.
        batch_size_max: Planned cap, at least 1.
        now_s: The caller's clock.

    Returns:
        0..batch_size_max queries, order kept; empty only when nothing waits.
    """
    cap = min(batch_size_max, profile.batch_size_max)
    head: Query | None = None
    batch: list[Query] = []
    tightest_s = 0.0
    for query in waiting:
        if head is None:
            head, tightest_s = query, query.deadline_s
        elif query.compat_key != head.compat_key:
            continue
        tightest_s = min(tightest_s, query.deadline_s)
        if batch and now_s + profile.execution_s(len(batch) + 1) > tightest_s:
            break
        batch.append(query)
        if len(batch) == cap:
            break
    return tuple(batch)


def heavy_order(
    waiting: Sequence[Query],
    percentile: Callable[[Query], float],
    round_s: float,
    now_s: float,
) -> list[Query]:
    """Order deferred queries for the heavy variant.

    First those that cannot wait for another round, then the rest; within each, the worst light
    image first, since it gains most. So when the heavy stage cannot serve all, what is given up
    is the least quality.

    Args:
        waiting: Deferred queries, earliest deadline first.
        percentile: Rank of a query's light image, 0..1, lower is worse.
        round_s: Seconds of one full heavy batch.
        now_s: The caller's clock.
    """
    return sorted(
        waiting,
        key=lambda query: (
            query.deadline_s - now_s > 2.0 * round_s,
            percentile(query),
            query.deadline_s,
            query.query_id,
        ),
    )
