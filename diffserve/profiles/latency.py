"""Batch size -> execution seconds of one variant on one device type."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from diffserve.errors import ProfileError


@dataclass(frozen=True, slots=True)
class LatencyProfile:
    """Measured execution time by batch size. Paper: §3.3 (offline model profiles).

    Attributes:
        seconds_by_batch: Batch size -> seconds; holds size 1 and is non-decreasing in size.
    """

    seconds_by_batch: Mapping[int, float]
    _seconds: tuple[float, ...] = field(init=False, repr=False, compare=False)
    """By batch size, from 0: asked for several times per query."""

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
        object.__setattr__(self, "_seconds", _interpolated(self.seconds_by_batch, sizes))

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Measured batch sizes, ascending."""
        return tuple(sorted(self.seconds_by_batch))

    @property
    def batch_size_max(self) -> int:
        """Largest measured batch size."""
        return len(self._seconds) - 1

    def execution_s(self, batch_size: int) -> float:
        """Return seconds for a batch, interpolated linearly between measured sizes.

        Raises:
            ProfileError: ``batch_size`` is below 1 or above the largest measured size.
        """
        if not 1 <= batch_size < len(self._seconds):
            limit = self.batch_size_max
            raise ProfileError(f"latency profile: batch {batch_size} is outside 1..{limit}")
        return self._seconds[batch_size]

    def throughput_qps(self, batch_size: int) -> float:
        """Return queries per second of one worker that always runs full batches."""
        return batch_size / self.execution_s(batch_size)


def _interpolated(seconds_by_batch: Mapping[int, float], sizes: list[int]) -> tuple[float, ...]:
    """Return seconds for every size from 0 to the largest, linear between measured ones."""
    seconds = [0.0, seconds_by_batch[1]]
    for below, above in itertools.pairwise(sizes):
        low, high = seconds_by_batch[below], seconds_by_batch[above]
        for size in range(below + 1, above):
            seconds.append(low + (size - below) / (above - below) * (high - low))
        seconds.append(high)
    return tuple(seconds)
