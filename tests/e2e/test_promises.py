"""What users are promised, measured on processes: one worker that draws an image in 0.2 s."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from diffserve.client import AsyncClient, Progress, Retries
from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import common_pb2, generation_pb2, worker_pb2, worker_pb2_grpc
from tests.e2e.stack import Stack, door, running_stack

IDLE_LOAD = 1.0
"""Times seen by a client count only where nothing else uses the machine."""
SECOND = 100
"""Steps of an image that takes one second."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("promises")
    catalog = Path(__file__).with_name("promises.toml")
    with running_stack(directory, f"--catalog={catalog}", "--workers=1") as running:
        yield running


@pytest.fixture
async def stub(stack: Stack) -> AsyncIterator[Any]:
    async with door(stack) as opened:
        yield opened


def request(steps: int = 1, **fields: Any) -> generation_pb2.GenerateRequest:
    parameters = common_pb2.GenerationParameters(prompt="an owl", num_inference_steps=steps)
    return generation_pb2.GenerateRequest(
        parameters=parameters, preference=common_pb2.PREFERENCE_LIGHT, **fields
    )


async def num_executed(stack: Stack) -> int:
    async with open_channel(stack.ready["endpoints"]["worker-0"]) as channel:
        stub = worker_pb2_grpc.WorkerStub(channel)
        return (await stub.Describe(worker_pb2.DescribeRequest(), timeout=5)).num_batches


async def idle(stack: Stack) -> None:
    """Wait until the worker has finished what came before."""
    before = -1
    while (now := await num_executed(stack)) != before:
        before = now
        await asyncio.sleep(0.3)


def is_idle_machine() -> bool:
    return os.getloadavg()[0] < IDLE_LOAD


def p99(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


async def test_eight_clients_that_leave_cause_one_execution(stack: Stack, stub: Any) -> None:
    await idle(stack)
    before = await num_executed(stack)
    calls = [stub.Generate(request(SECOND), timeout=30) for _ in range(8)]
    await asyncio.sleep(0.3)
    for call in calls:
        call.cancel()
    await asyncio.sleep(0.1)
    began_s = time.monotonic()
    await stub.Generate(request(), timeout=30)
    assert time.monotonic() - began_s < 0.9, "what ran was stopped, not finished"
    assert await num_executed(stack) - before - 1 <= 1


async def test_what_cannot_make_it_is_refused_at_once(stack: Stack, stub: Any) -> None:
    await idle(stack)

    async def one(index: int) -> tuple[str, float]:
        began_s = time.monotonic()
        wanted = request(20, deadline_s=1.0, query_id=f"flood-{index}")
        try:
            await stub.Generate(wanted, timeout=30)
            return "OK", time.monotonic() - began_s
        except grpc.aio.AioRpcError as error:
            return error.code().name, time.monotonic() - began_s

    ended = await asyncio.gather(*(one(index) for index in range(100)))
    counts = Counter(name for name, _ in ended)
    assert set(counts) <= {"OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    assert counts["OK"] >= 3
    assert counts["RESOURCE_EXHAUSTED"] >= 90
    queries = [generation_pb2.GetQueryRequest(query_id=f"flood-{i}") for i in range(100)]
    records = [await stub.GetQuery(query) for query in queries]
    refused_s = [r.times.total_s for r in records if r.outcome == common_pb2.OUTCOME_REJECTED]
    answered_s = [r.times.total_s for r in records if r.outcome == common_pb2.OUTCOME_LIGHT]
    assert p99(refused_s) < 0.05
    assert max(answered_s) <= 1.0, "served late"
    seen_s = [seconds for name, seconds in ended if name == "RESOURCE_EXHAUSTED"]
    # A hundred calls at once from this one process take it longer than the server to refuse them:
    # what the client sees is told here and is for the benchmark to judge.
    print(f"\nrefusals, p99: server {p99(refused_s):.4f} s, client {p99(seen_s):.4f} s")


async def test_health_answers_while_the_model_runs(stack: Stack, stub: Any) -> None:
    await idle(stack)
    running = asyncio.ensure_future(stub.Generate(request(SECOND), timeout=30))
    await asyncio.sleep(0.1)
    seconds = []
    for address in (stack.door, stack.ready["endpoints"]["worker-0"]):
        async with open_channel(address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            await health.Check(health_pb2.HealthCheckRequest(), timeout=5)  # connects
            for _ in range(10):
                began_s = time.monotonic()
                state = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
                seconds.append(time.monotonic() - began_s)
                assert state.status == health_pb2.HealthCheckResponse.SERVING
    assert not running.done()
    await running
    print(f"\nhealth: median {sorted(seconds)[10]:.4f} s, worst {max(seconds):.4f} s")
    assert sorted(seconds)[10] < 0.05
    if is_idle_machine():
        assert max(seconds) < 0.05


async def test_one_abort_does_not_disturb_the_next_hundred(stack: Stack, stub: Any) -> None:
    call = stub.Generate(request(SECOND), timeout=30)
    await asyncio.sleep(0.2)
    call.cancel()
    gate = asyncio.Semaphore(10)

    async def one(index: int) -> str:
        async with gate:
            wanted = request(query_id=f"after-abort-{index}")
            return str((await stub.Generate(wanted, timeout=30)).query_id)

    answered = await asyncio.gather(*(one(index) for index in range(100)))
    assert len(set(answered)) == 100


async def test_four_large_images_arrive_with_default_settings(stack: Stack) -> None:
    async with AsyncClient(stack.door, retries=Retries(num_max=0)) as client:
        images = await client.generate_all("owl", n=4, width=1024, height=1024, seed=5)
    assert [image.seed for image in images] == [5, 6, 7, 8]
    assert all((image.width, image.height) == (1024, 1024) for image in images)
    assert all(image.data.startswith(b"\x89PNG") for image in images)


async def test_a_stream_tells_of_the_steps(stack: Stack) -> None:
    async with AsyncClient(stack.door) as client:
        events = [e async for e in client.stream("owl", num_inference_steps=SECOND)]
        steps = [event for event in events if isinstance(event, Progress)]
        assert 2 <= len(steps) <= 40
        # The heavy variant, if the image is deferred, counts its own.
        first = steps[0].variant
        assert steps == sorted(steps, key=lambda event: (event.variant != first, event.step))


BAD: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("parameters.width", {"width": 100_000, "height": 10_000}, {}),
    ("parameters.height", {"height": 7}, {}),
    ("parameters.width", {"width": -8}, {}),
    ("parameters.num_inference_steps", {"num_inference_steps": 10**6}, {}),
    ("parameters.guidance_scale", {"guidance_scale": math.nan}, {}),
    ("parameters.guidance_scale", {"guidance_scale": math.inf}, {}),
    ("parameters.prompt", {"prompt": "x" * 1_000_000}, {}),
    ("parameters.prompt", {"prompt": " "}, {}),
    ("parameters.seed", {"seed": -1}, {}),
    ("parameters.output_format", {"output_format": "bmp"}, {}),
    ("n", {}, {"n": 10**9}),
    ("deadline_s", {}, {"deadline_s": math.nan}),
]


async def test_bad_inputs_name_their_field_and_the_service_goes_on(stub: Any) -> None:
    for field, parameters, fields in BAD:
        wanted = generation_pb2.GenerateRequest(
            parameters=common_pb2.GenerationParameters(**{"prompt": "an owl", **parameters}),
            **fields,
        )
        for call in (stub.Generate(wanted), anext(aiter(stub.GenerateStream(wanted)))):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT, field
            assert (caught.value.details() or "").startswith(f"{field}:")
    assert (await stub.Generate(request(), timeout=30)).image.data


async def test_sigterm_finishes_what_was_accepted_and_refuses_the_rest(
    stack: Stack, stub: Any
) -> None:
    await idle(stack)
    accepted = [asyncio.ensure_future(stub.Generate(request(50), timeout=30)) for _ in range(5)]
    await asyncio.sleep(0.4)
    os.kill(stack.pid("loadbalancer"), signal.SIGTERM)
    await asyncio.sleep(0.2)
    began_s = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Generate(request(), timeout=30)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert time.monotonic() - began_s < 1.0
    answers = await asyncio.gather(*accepted)
    assert all(answer.image.data for answer in answers)
