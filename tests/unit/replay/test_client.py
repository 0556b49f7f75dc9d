"""The open-loop client against a door that answers as told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from diffserve.core import Outcome
from diffserve.errors import (
    BackendError,
    DeadlineError,
    DiffServeError,
    OverloadedError,
    UnavailableError,
)
from diffserve.replay.client import Replayed, Target, replay
from diffserve.rpc.status import to_bytes
from diffserve.rpc.streams import Outbox, answer_many, join, split
from diffserve.rpc.v1 import common_pb2, generation_pb2, generation_pb2_grpc
from diffserve.sim.workload import Arrival

Request, Response = generation_pb2.GenerateRequest, generation_pb2.GenerateResponse
Answering = Callable[[Request], Awaitable[Response]]


class Door(generation_pb2_grpc.ImageGenerationServicer):
    """Remembers what it was asked, and answers by a function."""

    def __init__(self, answering: Answering) -> None:
        self.requests: list[generation_pb2.GenerateRequest] = []
        self.arrived_s: list[float] = []
        self._answering = answering

    async def GenerateMany(self, request_iterator: Any, context: Any) -> None:
        await answer_many(context, self._answer, join, split)

    async def _answer(
        self,
        request: generation_pb2.GenerateManyRequest,
        outbox: Outbox[generation_pb2.GenerateManyResponse],
    ) -> None:
        self.requests.append(request.begin)
        self.arrived_s.append(time.monotonic())
        reply = generation_pb2.GenerateManyResponse(call_id=request.call_id)
        try:
            reply.response.CopyFrom(await self._answering(request.begin))
        except DiffServeError as error:
            reply.status = to_bytes(error)
        outbox.send(reply)


@asynccontextmanager
async def opened(answering: Answering) -> AsyncIterator[tuple[Door, str]]:
    door, server = Door(answering), grpc.aio.server()
    generation_pb2_grpc.add_ImageGenerationServicer_to_server(door, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield door, f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def answer(outcome: Outcome) -> generation_pb2.GenerateResponse:
    name = f"OUTCOME_{outcome.value.upper()}"
    return generation_pb2.GenerateResponse(
        outcome=common_pb2.Outcome.Value(name), variant_id=f"drawn-{outcome.value}"
    )


async def served(answering: Answering, arrivals: list[Arrival], slo_s: float = 1.0) -> Replayed:
    async with opened(answering) as (_, address):
        return await replay(Target(address=address, slo_s=slo_s, window_s=0.1), arrivals)


async def light(request: Request) -> Response:
    return answer(Outcome.LIGHT)


async def test_queries_leave_at_their_times_and_say_what_they_are() -> None:
    arrivals = [Arrival(0.05, 7), Arrival(0.1, 8), Arrival(0.3, 7)]
    async with opened(light) as (door, address):
        replayed = await replay(Target(address=address, slo_s=2.0), arrivals)
    gaps = [later - door.arrived_s[0] for later in door.arrived_s[1:]]
    assert gaps == pytest.approx([0.05, 0.25], abs=0.04)
    prompts = [request.parameters.prompt for request in door.requests]
    assert prompts[0] == prompts[2] != prompts[1]
    assert [request.parameters.seed for request in door.requests] == [0, 1, 2]
    assert all(1.9 < request.deadline_s <= 2.0 for request in door.requests)
    assert [a.variant_id for a in replayed.answers] == ["drawn-light"] * 3
    assert replayed.recorder.num_queries == 3
    assert replayed.lag_s(0.99) < 0.1


async def test_a_slow_answer_delays_no_later_query() -> None:
    async def slow_first(
        request: generation_pb2.GenerateRequest,
    ) -> generation_pb2.GenerateResponse:
        if request.parameters.seed == 0:
            await asyncio.sleep(0.4)
        return answer(Outcome.HEAVY)

    replayed = await served(slow_first, [Arrival(0.0, 0), Arrival(0.02, 1), Arrival(0.04, 2)])
    latencies = [a.latency_s for a in replayed.answers]
    assert latencies[0] > 0.4
    assert max(latencies[1:]) < 0.2


@pytest.mark.parametrize(
    ("failure", "outcome"),
    [
        (OverloadedError("because", predicted_wait_s=1.0, retry_after_s=0.1), Outcome.REJECTED),
        (DeadlineError("because"), Outcome.EXPIRED),
        (UnavailableError("because"), Outcome.FAILED),
        (BackendError("because"), Outcome.FAILED),
    ],
)
async def test_every_way_to_end_is_an_outcome(failure: DiffServeError, outcome: Outcome) -> None:
    async def refusing(request: Request) -> Response:
        raise failure

    replayed = await served(refusing, [Arrival(0.0, 0)])
    assert replayed.recorder.outcomes == {outcome: 1}
    assert replayed.recorder.num_violations == (outcome is not Outcome.REJECTED)
    assert "because" in replayed.answers[0].error


async def test_a_late_answer_is_a_violation_and_not_an_error() -> None:
    async def late(request: Request) -> Response:
        await asyncio.sleep(0.2)
        return answer(Outcome.LIGHT_FALLBACK)

    replayed = await served(late, [Arrival(0.0, 0)], slo_s=0.1)
    assert replayed.recorder.num_late == 1
    assert replayed.recorder.num_violations == 1
    assert replayed.answers[0].outcome is Outcome.LIGHT_FALLBACK


async def test_windows_and_shares_are_the_recorders() -> None:
    async def alternating(
        request: generation_pb2.GenerateRequest,
    ) -> generation_pb2.GenerateResponse:
        return answer(Outcome.HEAVY if request.parameters.seed % 2 else Outcome.LIGHT)

    arrivals = [Arrival(0.01 * index, index) for index in range(20)]
    replayed = await served(alternating, arrivals)
    assert replayed.recorder.heavy_share == 0.5
    assert [window.arrivals for window in replayed.recorder.windows] == [10, 10]
