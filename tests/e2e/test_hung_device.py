"""A device that hangs: its worker says so and answers on, nobody loses by it, and it comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import common_pb2, generation_pb2
from tests.e2e.stack import Stack, door, offer, running_stack

SERVING = health_pb2.HealthCheckResponse.SERVING
WORKERS = ("worker-0", "worker-1")
HEALTH_S = 0.05
NOTICED_S = 15.0
"""No batch is called hung before 5 s; the machine may be busy."""
BACK_S = 90.0
"""Ending, starting anew and loading the libraries."""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    catalog = Path(__file__).with_name("hanging.toml")
    flags = (f"--catalog={catalog}", "--workers=2", "--grace-s=1")
    with running_stack(tmp_path, *flags, DIFFSERVE_WORKER_HANG_EXIT_S="6") as running:
        yield running


async def states(stack: Stack, within_s: float) -> AsyncIterator[tuple[list[bool], float]]:
    """Yield which workers serve, and the longest time that one of them took to say."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        serving, longest_s = [], 0.0
        for worker in WORKERS:
            async with open_channel(stack.ready["endpoints"][worker]) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                try:
                    await asyncio.wait_for(channel.channel_ready(), 1.0)
                    began_s = time.monotonic()
                    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
                except (grpc.aio.AioRpcError, TimeoutError):
                    serving.append(False)
                    continue
                serving.append(answer.status == SERVING)
                longest_s = max(longest_s, time.monotonic() - began_s)
        yield serving, longest_s
        await asyncio.sleep(0.2)
    raise AssertionError(f"not within {within_s:.0f} s")


async def test_a_hung_device_costs_nobody_an_image(stack: Stack, tmp_path: Path) -> None:
    prompt = f"hang {tmp_path / 'hung'}"
    parameters = common_pb2.GenerationParameters(prompt=prompt, seed=1)
    request = generation_pb2.GenerateRequest(
        parameters=parameters, preference=common_pb2.PREFERENCE_LIGHT
    )
    longest_s = []
    async with door(stack) as stub:
        call = stub.Generate(request, timeout=60)
        async for serving, took_s in states(stack, NOTICED_S):
            longest_s.append(took_s)
            if not all(serving):
                break
        assert sorted(serving) == [False, True]
        # A shared machine may stall now and then; a worker that its batch blocks never answers.
        assert sorted(longest_s)[len(longest_s) // 2] < HEALTH_S
        assert (await call).image.data, "it ran on the other worker"
    load = await offer(stack, [f"an owl {i}" for i in range(20)], rate_qps=10.0)
    assert not load.errors
    assert len(load.responses) == 20
    async for serving, _ in states(stack, BACK_S):
        if all(serving):
            break
    assert "ending this process" in stack.log(WORKERS[0]) + stack.log(WORKERS[1])
