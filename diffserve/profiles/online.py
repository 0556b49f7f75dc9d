"""Refreshes a latency profile from executed batches."""

from __future__ import annotations

from diffserve.profiles.latency import LatencyProfile

SMOOTHING = 0.2
"""Weight of a new measurement."""


class LatencyEstimator:
    """Starting profile times a measured ratio per batch size; unmeasured sizes take the nearest.

    Working with ratios lets one batch size tell about the others: a device twice as slow as
    profiled is twice as slow everywhere until measured otherwise.
    """

    def __init__(self, profile: LatencyProfile) -> None:
        self._base = profile
        self._ratios: dict[int, float] = {}
        self._nearest: dict[int, int] = {}
        self._current = profile

    @property
    def profile(self) -> LatencyProfile:
        """The profile as known now; monotone."""
        return self._current

    def observe(self, batch_size: int, execution_s: float) -> None:
        """Take in one executed batch; sizes beyond the profile are ignored."""
        if execution_s <= 0.0 or not 1 <= batch_size <= self._base.batch_size_max:
            return
        ratio = execution_s / self._base.execution_s(batch_size)
        before = self._ratios.get(batch_size)
        if before is None:
            self._ratios[batch_size] = ratio
            self._nearest = {size: self._nearest_to(size) for size in self._base.batch_sizes}
        else:
            self._ratios[batch_size] = before + SMOOTHING * (ratio - before)
        self._current = self._scaled()

    def _nearest_to(self, size: int) -> int:
        """Return the measured batch size that tells about ``size``; the smaller one on a tie."""
        return min(self._ratios, key=lambda measured: (abs(measured - size), measured))

    def _scaled(self) -> LatencyProfile:
        seconds: dict[int, float] = {}
        slowest = 0.0
        for size, nearest in self._nearest.items():
            slowest = max(slowest, self._base.execution_s(size) * self._ratios[nearest])
            seconds[size] = slowest
        return LatencyProfile(seconds)
