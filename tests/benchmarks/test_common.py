"""The baseline answers as asked, the load is counted rightly, rounds are summed up by ratio."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.common.closed_loop import measure
from benchmarks.common.raw_grpc import raw_server
from benchmarks.common.rounds import Spread, ratios
from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import generation_pb2
from diffserve.rpc.v1.generation_pb2_grpc import ImageGenerationStub


async def test_the_baseline_answers_so_many_bytes() -> None:
    async with raw_server(321) as address, open_channel(address) as channel:
        request = generation_pb2.GenerateRequest(query_id="a")
        answer = await ImageGenerationStub(channel).Generate(request, timeout=10.0)
    assert len(answer.image.data) == 321
    assert answer.query_id == "a"


async def test_callers_wait_for_their_answers() -> None:
    numbers: list[int] = []

    async def call(number: int) -> None:
        numbers.append(number)
        await asyncio.sleep(0.05)

    sample = await measure(call, concurrency=3, seconds=0.4, warm_up_s=0.1)
    assert len(set(numbers)) == len(numbers)
    assert len(sample.latencies_s) < len(numbers)
    assert 0.05 <= sample.quantile_s(0.0) <= sample.quantile_s(0.5) < 0.2
    assert sample.rate_qps == pytest.approx(len(sample.latencies_s) / 0.4)
    assert sample.rate_qps <= 3 / 0.05 * 1.2


async def test_a_failed_call_ends_the_measurement() -> None:
    async def call(number: int) -> None:
        raise ValueError("refused")

    with pytest.raises(ExceptionGroup):
        await measure(call, concurrency=2, seconds=0.1)


def test_ratios_are_taken_within_rounds() -> None:
    spread = ratios([2.0, 20.0, 6.0], [1.0, 10.0, 2.0])
    assert (spread.median, spread.low, spread.high) == (2.0, 2.0, 2.5)
    assert spread.text() == "2.00 (2.00 to 2.50)"
    assert [Spread.of([v]).text().split()[0] for v in (0.966, 12.34, 3354.7)] == [
        "0.966",
        "12.3",
        "3355",
    ]
    assert Spread.of([3.0]) == Spread(3.0, 3.0, 3.0)
