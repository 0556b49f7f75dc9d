"""The central queue of one variant: earliest deadline first, with removal."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from diffserve.core import Query


class DeadlineQueue:
    """Waiting queries ordered by (deadline, order of entry).

    Queries stay here, not at a worker, until a worker can run them (late binding): a worker that
    dies or changes variant never holds waiting queries.
    """

    def __init__(self) -> None:
        self._order: list[tuple[float, int, str]] = []
        self._queries: dict[str, tuple[Query, tuple[float, int, str], float]] = {}
        self._sequence = 0

    def __len__(self) -> int:
        """Return the number of waiting queries."""
        return len(self._order)

    def __iter__(self) -> Iterator[Query]:
        """Yield waiting queries, earliest deadline first."""
        for _, _, query_id in self._order:
            yield self._queries[query_id][0]

    def push(self, query: Query, now_s: float) -> int:
        """Add a query that is not waiting yet; return how many are ahead of it."""
        assert query.query_id not in self._queries, query.query_id
        self._sequence += 1
        key = (query.deadline_s, self._sequence, query.query_id)
        position = bisect.bisect_left(self._order, key)
        self._order.insert(position, key)
        self._queries[query.query_id] = (query, key, now_s)
        return position

    def remove(self, query_id: str) -> bool:
        """Take a query out; False when it was not waiting."""
        entry = self._queries.pop(query_id, None)
        if entry is None:
            return False
        del self._order[bisect.bisect_left(self._order, entry[1])]
        return True

    def num_ahead(self, deadline_s: float) -> int:
        """Return how many waiting queries a new one with this deadline would stand behind."""
        return bisect.bisect_right(self._order, (deadline_s, self._sequence + 1, ""))

    def oldest_age_s(self, now_s: float) -> float:
        """Return how long the longest-waiting query has waited; 0 when empty."""
        return max((now_s - entered_s for _, _, entered_s in self._queries.values()), default=0.0)
