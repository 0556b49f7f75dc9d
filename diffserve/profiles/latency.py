"""Batch size -> execution seconds of one variant on one device type."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from diffserve.errors import ProfileError


@dataclass(frozen=True, slots=True)
class LatencyProfile:
    """Measured execution time by batch size. Paper: §3.3 (offline model profiles).

    Attributes:
        seconds_by_batch: Batch size -> seconds; holds size 1 and is non-decreasing in size.
    """

    seconds_by_batch: Mapping[int, float]

    def __post_init__(self) -> None:
        sizes = sorted(self.seconds_by_batch)
        if not sizes or sizes[0] != 1:
            raise ProfileError("latency profile: batch size 1 is missing")
        previous = 0.0
        for size in sizes:
            seconds = self.seconds_by_batch[size]
            if not math.isfinite(seconds) or seconds <= 0.0:
                raise ProfileError(f"latency profile: batch {size} takes {seconds} s")
            if seconds < previous:
                raise ProfileError(f"latency profile: batch {size} is faster than a smaller one")
            previous = seconds

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Measured batch sizes, ascending."""
        return tuple(sorted(self.seconds_by_batch))

    @property
    def batch_size_max(self) -> int:
        """Largest measured batch size."""
        return max(self.seconds_by_batch)

    def execution_s(self, batch_size: int) -> float:
        """Return seconds for a batch, interpolated linearly between measured sizes.

        Raises:
            ProfileError: ``batch_size`` is below 1 or above the largest measured size.
        """
        known = self.seconds_by_batch.get(batch_size)
        if known is not None:
            return known
        sizes = self.batch_sizes
        if not sizes[0] <= batch_size <= sizes[-1]:
            raise ProfileError(f"latency profile: batch {batch_size} is outside 1..{sizes[-1]}")
        above = next(size for size in sizes if size > batch_size)
        below = max(size for size in sizes if size < batch_size)
        share = (batch_size - below) / (above - below)
        low, high = self.seconds_by_batch[below], self.seconds_by_batch[above]
        return low + share * (high - low)

    def throughput_qps(self, batch_size: int) -> float:
        """Return queries per second of one worker that always runs full batches."""
        return batch_size / self.execution_s(batch_size)
