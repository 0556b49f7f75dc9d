"""Virtual time: a heap of events ordered by (time, priority, order of scheduling)."""

from __future__ import annotations

import enum
import heapq
from collections.abc import Callable


class Priority(enum.IntEnum):
    """Order of events that happen at the same instant."""

    WORKER = 0
    """Results come first: what is free can be used by what arrives."""
    MEMBERSHIP = 1
    ARRIVAL = 2
    TELEMETRY = 3
    PLAN = 4
    """Plans see everything up to their instant."""


class Engine:
    """Runs events in a fixed order; nothing in it depends on hashing, wall time or threads.

    Attributes:
        now_s: Virtual time, seconds; moves forward only.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._events: list[tuple[float, int, int, Callable[[], None]]] = []
        self._sequence = 0

    @property
    def next_s(self) -> float | None:
        """When the next event happens; None when there is none."""
        return self._events[0][0] if self._events else None

    def at(self, when_s: float, priority: Priority, event: Callable[[], None]) -> None:
        """Schedule an event, not in the past."""
        assert when_s >= self.now_s, (when_s, self.now_s)
        self._sequence += 1
        heapq.heappush(self._events, (when_s, priority, self._sequence, event))

    def advance_to(self, when_s: float) -> None:
        """Move the clock without an event; a moment that has passed already changes nothing."""
        self.now_s = max(self.now_s, when_s)

    def step(self) -> None:
        """Run the next event."""
        self.now_s, _, _, event = heapq.heappop(self._events)
        event()
