"""Closed-loop load: so many callers, each with its next call as soon as the last is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Call = Callable[[int], Awaitable[object]]
"""One call, given its number; raises when it was not answered."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one system did in one round.

    Attributes:
        latencies_s: One per answered call, ascending.
        wall_s: Length of the round.
    """

    latencies_s: tuple[float, ...]
    wall_s: float

    @property
    def rate_qps(self) -> float:
        """Answers per second."""
        return len(self.latencies_s) / self.wall_s

    def quantile_s(self, share: float) -> float:
        """Return the latency that ``share`` of the calls did not exceed."""
        count = len(self.latencies_s)
        return self.latencies_s[min(count - 1, int(share * count))]


async def measure(call: Call, concurrency: int, seconds: float, warm_up_s: float = 0.0) -> Sample:
    """Return the latencies of the calls that ended within the round.

    Args:
        call: Makes one call.
        concurrency: Callers.
        seconds: Length of the round.
        warm_up_s: Load before it, not counted.

    Raises:
        Exception: whatever a call raised: a benchmark with failed calls measures nothing.
    """
    begin_s = time.monotonic() + warm_up_s
    end_s = begin_s + seconds
    latencies: list[float] = []

    async def caller(first: int) -> None:
        number = first
        while (sent_s := time.monotonic()) < end_s:
            await call(number)
            answered_s = time.monotonic()
            if begin_s <= answered_s <= end_s:
                latencies.append(answered_s - sent_s)
            number += concurrency

    async with asyncio.TaskGroup() as group:
        for first in range(concurrency):
            group.create_task(caller(first))
    return Sample(tuple(sorted(latencies)), seconds)
