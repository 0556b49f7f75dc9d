"""Every query in progress, and when to look at it again. Times come from the caller."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from diffserve.core import Outcome
from diffserve.policy.ledger import Ledger
from diffserve.policy.progress import Progress


class QueryBook:
    """Queries by id, their wake-ups, and the ledger that counts them.

    Attributes:
        ledger: Arrivals and outcomes.
    """

    def __init__(self) -> None:
        self.ledger = Ledger()
        self._queries: dict[str, Progress] = {}
        self._wakeups: list[tuple[float, int, str, bool]] = []
        self._sequence = 0

    def open(self, progress: Progress) -> None:
        """Enter a new query."""
        query = progress.query
        assert query.query_id not in self._queries, query.query_id
        self._queries[query.query_id] = progress
        self.ledger.arrived(query.cascade_id)

    def close(self, progress: Progress, outcome: Outcome) -> None:
        """Strike out a query that has its outcome."""
        del self._queries[progress.query.query_id]
        self.ledger.ended(progress.query.cascade_id, outcome)

    def get(self, query_id: str) -> Progress | None:
        """Return a query in progress, or None."""
        return self._queries.get(query_id)

    def running(self, batch_id: int, query_id: str) -> Progress | None:
        """Return the query if this very batch still works for it."""
        progress = self._queries.get(query_id)
        if progress is None or progress.batch is None or progress.batch.batch_id != batch_id:
            return None
        return progress

    def next_number(self) -> int:
        """Return a number that was not used before; it orders wake-ups and names batches."""
        self._sequence += 1
        return self._sequence

    def wake_at(self, when_s: float, name: str) -> None:
        """Ask for a look at a query, or at whatever else has a name, at an instant."""
        entry = (when_s, self.next_number(), name, name in self._queries)
        heapq.heappush(self._wakeups, entry)

    @property
    def next_wakeup_s(self) -> float | None:
        """When the next look is due; None when none is."""
        self._forget()
        return self._wakeups[0][0] if self._wakeups else None

    def due(self, now_s: float) -> Iterator[str]:
        """Yield what to look at by now, those asked for meanwhile included."""
        while self._wakeups and self._wakeups[0][0] <= now_s:
            yield heapq.heappop(self._wakeups)[2]

    def _forget(self) -> None:
        """Drop what is due next for queries that have their outcome: most end long before that."""
        while self._wakeups:
            _, _, name, is_query = self._wakeups[0]
            if not is_query or name in self._queries:
                return
            heapq.heappop(self._wakeups)
