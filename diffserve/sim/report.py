"""What a run comes to: counts, latencies and quality, gathered in memory that does not grow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from diffserve.core import Outcome
from diffserve.sim.quality import WINDOW_S, QualityTable

_BIN_S = 0.001
_NUM_BINS = 120_000
"""Latencies are kept as a histogram of milliseconds; longer ones count as two minutes."""


@dataclass(slots=True)
class Window:
    """Queries that arrived within one stretch of ``WINDOW_S`` seconds.

    Attributes:
        arrivals: All of them.
        light: Answered in time with a light image.
        heavy: Answered in time with a heavy image.
        violations: Late, expired or failed.
    """

    arrivals: int = 0
    light: int = 0
    heavy: int = 0
    violations: int = 0

    @property
    def heavy_share(self) -> float | None:
        """Heavy share of the answers in time; None without any."""
        answers = self.light + self.heavy
        return self.heavy / answers if answers else None


@dataclass(slots=True)
class Recorder:
    """Counts outcomes as they happen.

    A violation is a query that was accepted and not answered by its deadline: late, expired or
    failed. A refusal at the door is told to the client at once and counted apart.
    """

    windows: list[Window] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    num_late: int = 0
    num_queries: int = 0
    num_swaps: int = 0
    num_plans: int = 0
    num_fallback_plans: int = 0
    busy_s: float = 0.0
    ended_s: float = 0.0
    _latencies: np.ndarray[tuple[int], np.dtype[np.int64]] = field(
        default_factory=lambda: np.zeros(_NUM_BINS, np.int64)
    )

    def arrived(self, arrival_s: float) -> None:
        """Count an arrival."""
        self.num_queries += 1
        self._window(arrival_s).arrivals += 1

    def finished(self, arrival_s: float, deadline_s: float, outcome: Outcome, now_s: float) -> None:
        """Count an outcome."""
        self.outcomes[outcome] += 1
        self.ended_s = max(self.ended_s, now_s)
        window = self._window(arrival_s)
        if not outcome.is_answered:
            window.violations += outcome is not Outcome.REJECTED
            return
        self._latencies[min(int((now_s - arrival_s) / _BIN_S), _NUM_BINS - 1)] += 1
        if now_s > deadline_s:
            self.num_late += 1
            window.violations += 1
        elif outcome is Outcome.HEAVY:
            window.heavy += 1
        else:
            window.light += 1

    @property
    def num_violations(self) -> int:
        """Accepted queries that were not answered in time."""
        return self.num_late + self.outcomes[Outcome.EXPIRED] + self.outcomes[Outcome.FAILED]

    @property
    def heavy_share(self) -> float:
        """Heavy share of all answers in time; 0 without any."""
        heavy = sum(window.heavy for window in self.windows)
        return heavy / max(1, heavy + sum(window.light for window in self.windows))

    def quality_windowed(self, table: QualityTable) -> float:
        """Return the mean over windows of the table's value at the window's heavy share."""
        shares = [w.heavy_share for w in self.windows if w.heavy_share is not None]
        return float(np.mean([table.reported(s) for s in shares])) if shares else float("nan")

    def latency_s(self, quantile: float) -> float:
        """Return a quantile of the answers' latencies, to the millisecond; 0 without any."""
        total = int(self._latencies.sum())
        if total == 0:
            return 0.0
        rank = int(np.searchsorted(np.cumsum(self._latencies), quantile * total))
        return (rank + 1) * _BIN_S

    def series(self) -> dict[str, list[float | None]]:
        """Return what happened window by window, for plots."""
        return {
            "start_s": [index * WINDOW_S for index in range(len(self.windows))],
            "arrivals": [window.arrivals for window in self.windows],
            "violations": [window.violations for window in self.windows],
            "heavy_share": [window.heavy_share for window in self.windows],
        }

    def _window(self, arrival_s: float) -> Window:
        index = int(arrival_s / WINDOW_S)
        while len(self.windows) <= index:
            self.windows.append(Window())
        return self.windows[index]
