"""Sums up interleaved rounds: ratios within a round, median and spread over rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Median and interquartile range.

    Attributes:
        median: Half of the values are below.
        low: First quartile.
        high: Third quartile.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of values, at least one."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def text(self) -> str:
        """Return ``median (low to high)``, to about three digits."""
        digits = 0 if self.median >= 100.0 else 1 if self.median >= 10.0 else 2
        digits = 3 if self.median < 1.0 else digits
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def ratios(values: Sequence[float], baselines: Sequence[float]) -> Spread:
    """Return the spread of each round's value over the same round's baseline."""
    return Spread.of([value / base for value, base in zip(values, baselines, strict=True)])
