"""What a run comes to: counts, latencies and quality, gathered in memory that does not grow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from diffserve.core import Outcome
from diffserve.sim.quality import WINDOW_S, ClassTable, Mix, QualityTable

_BIN_S = 0.001
_NUM_BINS = 120_000
"""Latencies are kept as a histogram of milliseconds; longer ones count as two minutes."""


@dataclass(slots=True)
class Window:
    """Queries that arrived within one stretch of time.

    Attributes:
        arrivals: All of them.
        light: Answered in time with a light image.
        heavy: Answered in time with a heavy image.
        violations: Late, expired or failed.
        mixes: Answers in time by cascade.
    """

    arrivals: int = 0
    light: int = 0
    heavy: int = 0
    violations: int = 0
    mixes: dict[str, Mix] = field(default_factory=dict)

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

    Attributes:
        window_s: Length of the windows, seconds.
        windows: In the order of time.
        outcomes: How queries ended.
        num_late: Answered after their deadlines.
        num_queries: Arrivals.
        num_swaps: Workers that plans gave another variant.
        num_plans: Plans.
        num_fallback_plans: Of those, without a solution.
        num_shadows: Shadow runs started; their time on devices counts as busy.
        num_busy_refusals: Batches that a worker refused because another load balancer used it.
        busy_s: Sum over the devices of the time that they worked.
        ended_s: When the last query ended.
    """

    window_s: float = WINDOW_S
    windows: list[Window] = field(default_factory=list)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    num_late: int = 0
    num_queries: int = 0
    num_swaps: int = 0
    num_plans: int = 0
    num_fallback_plans: int = 0
    num_shadows: int = 0
    num_busy_refusals: int = 0
    busy_s: float = 0.0
    ended_s: float = 0.0
    _latencies: np.ndarray[tuple[int], np.dtype[np.int64]] = field(
        default_factory=lambda: np.zeros(_NUM_BINS, np.int64)
    )

    def arrived(self, arrival_s: float) -> None:
        """Count an arrival."""
        self.num_queries += 1
        self._window(arrival_s).arrivals += 1

    def finished(
        self,
        arrival_s: float,
        deadline_s: float,
        outcome: Outcome,
        now_s: float,
        *,
        cascade_id: str = "",
        is_bypassed: bool = False,
    ) -> None:
        """Count an outcome.

        Args:
            arrival_s: When the query came.
            deadline_s: Until when it was to be answered.
            outcome: How it ended.
            now_s: When it ended.
            cascade_id: Who served it, where several cascades serve.
            is_bypassed: It never had a light image.
        """
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
            return
        mix = window.mixes.setdefault(cascade_id, Mix())
        if outcome is Outcome.HEAVY:
            window.heavy += 1
            mix.heavy += 1
            mix.bypassed += is_bypassed
        else:
            window.light += 1
            mix.light += 1

    @property
    def num_violations(self) -> int:
        """Accepted queries that were not answered in time."""
        return self.num_late + self.outcomes[Outcome.EXPIRED] + self.outcomes[Outcome.FAILED]

    @property
    def heavy_share(self) -> float:
        """Heavy share of all answers in time; 0 without any."""
        heavy = sum(window.heavy for window in self.windows)
        return heavy / max(1, heavy + sum(window.light for window in self.windows))

    @property
    def mixes(self) -> dict[str, Mix]:
        """Answers in time by cascade, of the whole run."""
        totals: dict[str, Mix] = {}
        for window in self.windows:
            for cascade_id, mix in window.mixes.items():
                totals[cascade_id] = totals.get(cascade_id, Mix())
                totals[cascade_id] += mix
        return totals

    def quality_overall(self, table: QualityTable | ClassTable) -> float:
        """Return the table's value at the shares of the whole run."""
        quality = table.of(self.mixes)
        return float("nan") if quality is None else quality

    def quality_windowed(self, table: QualityTable | ClassTable) -> float:
        """Return the mean over windows of the table's value at the window's shares."""
        values = [table.of(window.mixes) for window in self.windows]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else float("nan")

    def latency_s(self, quantile: float) -> float:
        """Return a quantile of the answers' latencies, to the millisecond; 0 without any."""
        total = int(self._latencies.sum())
        if total == 0:
            return 0.0
        rank = int(np.searchsorted(np.cumsum(self._latencies), quantile * total))
        return (rank + 1) * _BIN_S

    def summary(self, table: QualityTable | ClassTable) -> dict[str, Any]:
        """Return everything that clients notice of a run, as JSON values.

        Args:
            table: What shares of heavy answers are worth; gives units and sign of the quality.
        """
        total = max(1, self.num_queries)
        return {
            "queries": self.num_queries,
            "slo_violation_ratio": self.num_violations / total,
            "rejected_ratio": self.outcomes[Outcome.REJECTED] / total,
            "heavy_share": self.heavy_share,
            "quality_metric": table.metric,
            "is_lower_better": table.is_lower_better,
            "is_query_aware": table.is_query_aware,
            "quality_overall": self.quality_overall(table),
            "quality_windowed": self.quality_windowed(table),
            "latency_s_p50": self.latency_s(0.5),
            "latency_s_p99": self.latency_s(0.99),
            "outcomes": {outcome.value: self.outcomes[outcome] for outcome in Outcome},
            "windows": self.series(table),
        }

    def series(self, table: QualityTable | ClassTable) -> dict[str, Any]:
        """Return what happened window by window, for plots; answers also by cascade."""
        return {
            "start_s": [index * self.window_s for index in range(len(self.windows))],
            "arrivals": [window.arrivals for window in self.windows],
            "violations": [window.violations for window in self.windows],
            "heavy_share": [window.heavy_share for window in self.windows],
            "quality": [table.of(window.mixes) for window in self.windows],
            "answers": {
                cascade_id: [
                    window.mixes[cascade_id].total if cascade_id in window.mixes else 0
                    for window in self.windows
                ]
                for cascade_id in sorted(self.mixes)
            },
        }

    def _window(self, arrival_s: float) -> Window:
        index = int(arrival_s / self.window_s)
        while len(self.windows) <= index:
            self.windows.append(Window())
        return self.windows[index]
