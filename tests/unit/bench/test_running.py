"""The warm-up is sent and not reported; late starts are not forgiven."""

from __future__ import annotations

import asyncio
import time

import pytest

from diffserve.bench.doors import Ending
from diffserve.bench.replies import Status
from diffserve.bench.running import run, schedule_of
from diffserve.sim.workload import Arrival, Workload


class Counting:
    """Answers after a while."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.num_asked = 0
        self._seconds = seconds

    async def ask(self, index: int, arrival: Arrival, began_s: float) -> Ending:
        self.num_asked += 1
        await asyncio.sleep(self._seconds)
        return Ending(status=Status.ANSWERED, num_bytes=7)


def workload(*times_s: float) -> Workload:
    return Workload(iter([Arrival(t, 0) for t in times_s]), duration_s=1.0, peak_qps=40.0)


async def test_warm_up_is_sent_and_not_reported() -> None:
    door = Counting()
    replies = await run(door, schedule_of(workload(0.0, 0.05), 0.2), lambda now_s, total_s: None)
    assert door.num_asked == 4 + 2
    assert [reply.arrival_s for reply in replies] == pytest.approx([0.0, 0.05])
    assert all(reply.num_bytes == 7 for reply in replies)


async def test_a_busy_client_is_seen_in_lag_and_latency() -> None:
    class Blocking(Counting):
        async def ask(self, index: int, arrival: Arrival, began_s: float) -> Ending:
            if index == 0:
                time.sleep(0.2)  # noqa: ASYNC251 - on purpose: nothing else can run
            return await super().ask(index, arrival, began_s)

    replies = await run(Blocking(), schedule_of(workload(0.0, 0.02), 0.0), lambda *_: None)
    assert replies[1].lag_s > 0.15
    assert replies[1].latency_s > 0.15


async def test_a_slow_answer_delays_no_later_query() -> None:
    replies = await run(Counting(0.2), schedule_of(workload(0.0, 0.05), 0.0), lambda *_: None)
    assert replies[1].lag_s < 0.1
    assert all(reply.latency_s > 0.19 for reply in replies)
