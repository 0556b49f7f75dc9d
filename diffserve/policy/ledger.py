"""Counts of arrivals and outcomes by cascade: what a load balancer reports of itself."""

from __future__ import annotations

from collections import Counter

from diffserve.core import Outcome


class Ledger:
    """One entry per arrival, one per outcome."""

    def __init__(self) -> None:
        self._num_arrivals: Counter[str] = Counter()
        self._outcomes: Counter[tuple[str, Outcome]] = Counter()

    def arrived(self, cascade_id: str) -> None:
        """Count a query, rejected ones included."""
        self._num_arrivals[cascade_id] += 1

    def ended(self, cascade_id: str, outcome: Outcome) -> None:
        """Count how a query ended."""
        self._outcomes[cascade_id, outcome] += 1

    def num_arrivals(self, cascade_id: str) -> int:
        """Return how many queries arrived."""
        return self._num_arrivals[cascade_id]

    def outcomes(self, cascade_id: str) -> dict[Outcome, int]:
        """Return how many queries ended in each way."""
        return {outcome: self._outcomes[cascade_id, outcome] for outcome in Outcome}

    def num_in_progress(self, cascade_id: str) -> int:
        """Return how many queries have no outcome yet."""
        return self._num_arrivals[cascade_id] - sum(self.outcomes(cascade_id).values())
