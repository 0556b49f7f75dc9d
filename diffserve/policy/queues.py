"""The central queue of one variant: by priority and deadline or rank, with removal."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator

from diffserve.core import Priority, Query

DUE_LEAST_S = 1.0
"""What is due sooner counts as due then: one query in a hurry would else ask for any rate, and no
plan comes in time for it."""


class DeadlineQueue:
    """Waiting queries in three orders: by deadline alone, in order of service, and by rank.

    The order of service is by (priority, deadline, order of entry), the one by rank by (priority,
    rank, deadline). Queries stay here, not at a worker, until a worker can run them (late binding):
    a worker that dies or changes variant never holds waiting queries.
    """

    def __init__(self) -> None:
        self._order: list[tuple[float, int, str]] = []
        self._served: list[tuple[int, float, int, str]] = []
        self._ranked: list[tuple[int, float, float, int, str]] = []
        self._queries: dict[str, tuple[Query, tuple[float, int, str], float, float]] = {}
        self._sequence = 0

    def __len__(self) -> int:
        """Return the number of waiting queries."""
        return len(self._order)

    def __iter__(self) -> Iterator[Query]:
        """Yield waiting queries in order of service."""
        for *_, query_id in self._served:
            yield self._queries[query_id][0]

    def by_deadline(self) -> Iterator[Query]:
        """Yield waiting queries, earliest deadline first, whatever their priority."""
        for _, _, query_id in self._order:
            yield self._queries[query_id][0]

    def push(self, query: Query, now_s: float, rank: float = 0.0) -> int:
        """Add a query that is not waiting yet; return how many are served before it."""
        assert query.query_id not in self._queries, query.query_id
        self._sequence += 1
        key = (query.deadline_s, self._sequence, query.query_id)
        bisect.insort(self._order, key)
        served = (query.priority, *key)
        position = bisect.bisect_left(self._served, served)
        self._served.insert(position, served)
        bisect.insort(self._ranked, (query.priority, rank, *key))
        self._queries[query.query_id] = (query, key, now_s, rank)
        return position

    def remove(self, query_id: str) -> bool:
        """Take a query out; False when it was not waiting."""
        entry = self._queries.pop(query_id, None)
        if entry is None:
            return False
        query, key, _, rank = entry
        priority = query.priority
        del self._order[bisect.bisect_left(self._order, key)]
        del self._served[bisect.bisect_left(self._served, (priority, *key))]
        del self._ranked[bisect.bisect_left(self._ranked, (priority, rank, *key))]
        return True

    def by_rank(self) -> Iterator[Query]:
        """Yield waiting queries by priority, then lowest rank first, equal ones by deadline."""
        for *_, query_id in self._ranked:
            yield self._queries[query_id][0]

    @property
    def latest_deadline_s(self) -> float:
        """Deadline of the last waiting query; negative infinity when empty."""
        return self._order[-1][0] if self._order else -math.inf

    def due_between(self, start_s: float, end_s: float) -> list[Query]:
        """Return the queries with deadlines from ``start_s`` on, before ``end_s``."""
        start = bisect.bisect_left(self._order, (start_s,))
        end = bisect.bisect_left(self._order, (end_s,))
        return [self._queries[query_id][0] for _, _, query_id in self._order[start:end]]

    def num_due_before(self, deadline_s: float) -> int:
        """Return how many queries have an earlier deadline."""
        return bisect.bisect_left(self._order, (deadline_s,))

    def num_ranked_to(self, rank: float, priority: Priority = Priority.NORMAL) -> int:
        """Return how many queries have a higher priority, or this one and at most this rank."""
        return bisect.bisect_right(self._ranked, (priority, rank, math.inf))

    def rank(self, query_id: str) -> float:
        """Return the rank with which a waiting query was pushed."""
        return self._queries[query_id][3]

    def num_ahead(self, deadline_s: float, priority: Priority = Priority.NORMAL) -> int:
        """Return how many waiting queries a new one like this would stand behind."""
        return bisect.bisect_right(self._served, (priority, deadline_s, self._sequence + 1, ""))

    def behind(self, deadline_s: float, priority: Priority, count: int) -> list[tuple[int, Query]]:
        """Return those of a priority that a new query would go before, with their places after it.

        Of more than ``count`` the first half of as many, and the others spread over the rest, the
        last one among them.
        """
        start = self.num_ahead(deadline_s, priority)
        num_behind = bisect.bisect_right(self._served, (priority, math.inf)) - start
        num_first = num_behind if num_behind <= count else count // 2
        num_others = min(num_behind, count) - num_first
        step = (num_behind - num_first) / max(1, num_others)
        others = (num_first + round(step * index) for index in range(1, num_others + 1))
        places = [*range(1, num_first + 1), *others]
        return [(n, self._queries[self._served[start + n - 1][3]][0]) for n in places]

    def due_qps(self, now_s: float) -> float:
        """Return the least rate that serves all in time, in the order of their deadlines.

        0 when empty; see ``DUE_LEAST_S``.
        """
        return max(
            (
                place / max(due_s - now_s, DUE_LEAST_S)
                for place, (due_s, *_) in enumerate(self._order, start=1)
            ),
            default=0.0,
        )

    def oldest_age_s(self, now_s: float) -> float:
        """Return how long the longest-waiting query has waited; 0 when empty."""
        return max(
            (now_s - entered_s for _, _, entered_s, _ in self._queries.values()), default=0.0
        )
