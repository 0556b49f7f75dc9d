"""The central queue of one variant: by deadline and by rank, with removal."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator

from diffserve.core import Query


class DeadlineQueue:
    """Waiting queries ordered by (deadline, order of entry), and again by (rank, deadline).

    Queries stay here, not at a worker, until a worker can run them (late binding): a worker that
    dies or changes variant never holds waiting queries.
    """

    def __init__(self) -> None:
        self._order: list[tuple[float, int, str]] = []
        self._ranked: list[tuple[float, float, int, str]] = []
        self._queries: dict[str, tuple[Query, tuple[float, int, str], float, float]] = {}
        self._sequence = 0

    def __len__(self) -> int:
        """Return the number of waiting queries."""
        return len(self._order)

    def __iter__(self) -> Iterator[Query]:
        """Yield waiting queries, earliest deadline first."""
        for _, _, query_id in self._order:
            yield self._queries[query_id][0]

    def push(self, query: Query, now_s: float, rank: float = 0.0) -> int:
        """Add a query that is not waiting yet; return how many are ahead of it by deadline."""
        assert query.query_id not in self._queries, query.query_id
        self._sequence += 1
        key = (query.deadline_s, self._sequence, query.query_id)
        position = bisect.bisect_left(self._order, key)
        self._order.insert(position, key)
        bisect.insort(self._ranked, (rank, *key))
        self._queries[query.query_id] = (query, key, now_s, rank)
        return position

    def remove(self, query_id: str) -> bool:
        """Take a query out; False when it was not waiting."""
        entry = self._queries.pop(query_id, None)
        if entry is None:
            return False
        _, key, _, rank = entry
        del self._order[bisect.bisect_left(self._order, key)]
        del self._ranked[bisect.bisect_left(self._ranked, (rank, *key))]
        return True

    def by_rank(self) -> Iterator[Query]:
        """Yield waiting queries, lowest rank first, equal ones by deadline."""
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

    def num_ranked_to(self, rank: float) -> int:
        """Return how many queries have this rank or a lower one."""
        return bisect.bisect_right(self._ranked, (rank, float("inf")))

    def rank(self, query_id: str) -> float:
        """Return the rank with which a waiting query was pushed."""
        return self._queries[query_id][3]

    def num_ahead(self, deadline_s: float) -> int:
        """Return how many waiting queries a new one with this deadline would stand behind."""
        return bisect.bisect_right(self._order, (deadline_s, self._sequence + 1, ""))

    def oldest_age_s(self, now_s: float) -> float:
        """Return how long the longest-waiting query has waited; 0 when empty."""
        return max(
            (now_s - entered_s for _, _, entered_s, _ in self._queries.values()), default=0.0
        )
