"""Warm-up and measurement: sends the load, and keeps what is to be reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from diffserve.bench.doors import Door
from diffserve.bench.replies import Reply
from diffserve.replay.open_loop import send_all
from diffserve.sim.workload import Arrival, Workload

WARM_UP_SHARE = 0.5
"""Rate of the warm-up, as a share of the workload's peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When to send what.

    Attributes:
        warm_up_s: Length of the warm-up.
        duration_s: Length of the measurement.
        arrivals: Of both, in order.
    """

    warm_up_s: float
    duration_s: float
    arrivals: Iterable[Arrival]


def schedule_of(workload: Workload, warm_up_s: float) -> Schedule:
    """Put a warm-up of even gaps before a workload."""

    def arrivals() -> Iterator[Arrival]:
        rate_qps = WARM_UP_SHARE * workload.peak_qps
        for number in range(int(warm_up_s * rate_qps)):
            yield Arrival(number / rate_qps, number)
        for arrival in workload.arrivals:
            yield Arrival(warm_up_s + arrival.arrival_s, arrival.prompt_id)

    return Schedule(warm_up_s=warm_up_s, duration_s=workload.duration_s, arrivals=arrivals())


async def run(
    door: Door, schedule: Schedule, on_progress: Callable[[float, float], None]
) -> list[Reply]:
    """Send everything at its time; return the replies of the measurement, by arrival.

    Latencies count from the planned instant: a late start is not forgiven.

    Args:
        door: Whom to ask.
        schedule: What to send.
        on_progress: Called with the seconds done and those there are, at every query.
    """
    total_s = schedule.warm_up_s + schedule.duration_s
    replies: list[Reply] = []

    async def ask(index: int, arrival: Arrival, began_s: float) -> None:
        lag_s = time.monotonic() - began_s - arrival.arrival_s
        ending = await door.ask(index, arrival, began_s)
        if arrival.arrival_s < schedule.warm_up_s:
            return
        replies.append(
            Reply(
                arrival_s=arrival.arrival_s - schedule.warm_up_s,
                lag_s=lag_s,
                latency_s=time.monotonic() - began_s - arrival.arrival_s,
                status=ending.status,
                error=ending.error,
                num_bytes=ending.num_bytes,
                told=ending.told,
            )
        )

    await send_all(schedule.arrivals, ask, lambda now_s: on_progress(now_s, total_s))
    return sorted(replies, key=lambda reply: reply.arrival_s)
