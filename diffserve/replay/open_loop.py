"""Open-loop sending: every query leaves at its time, however the ones before it fare."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from typing import Any

from diffserve.sim.workload import Arrival

Ask = Callable[[int, Arrival, float], Coroutine[Any, Any, None]]
"""Sends one query and takes down how it ends: number, arrival, and the clock when all began."""


async def send_all(
    arrivals: Iterable[Arrival], ask: Ask, on_progress: Callable[[float], None]
) -> None:
    """Send every query at its time; return when each has ended.

    Instants are absolute, so that a slow answer or a busy client delays no later query.

    Args:
        arrivals: In order, seconds from now.
        ask: Must not raise: that ends everything.
        on_progress: Called with the seconds since the start, at every query.
    """
    with _short_collections():
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for index, arrival in enumerate(arrivals):
                await asyncio.sleep(max(0.0, began_s + arrival.arrival_s - time.monotonic()))
                group.create_task(ask(index, arrival, began_s))
                on_progress(arrival.arrival_s)


@contextlib.contextmanager
def _short_collections() -> Iterator[None]:
    """Keep what there is out of garbage collections: a pause here would look like latency."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def lag_quantile_s(lags_s: Sequence[float], share: float) -> float:
    """Return how late queries were sent; much of it means that the client was too busy."""
    lags = sorted(lags_s)
    return lags[min(len(lags) - 1, int(share * len(lags)))] if lags else 0.0
