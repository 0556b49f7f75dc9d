"""Serves arrivals on a load balancer by gRPC, open loop, and counts as the simulator does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from diffserve.core import Outcome
from diffserve.errors import InputError
from diffserve.replay.open_loop import lag_quantile_s, send_all
from diffserve.rpc import convert
from diffserve.rpc.channel import open_channel
from diffserve.rpc.status import from_call
from diffserve.rpc.v1 import common_pb2, generation_pb2
from diffserve.rpc.v1.generation_pb2_grpc import ImageGenerationStub
from diffserve.sim.quality import WINDOW_S
from diffserve.sim.report import Recorder
from diffserve.sim.workload import Arrival

CALL_MARGIN_S = 30.0
"""A call outlives its deadline by this, so that a late answer is counted as what it is."""
CONNECT_TIMEOUT_S = 5.0
SOONEST_S = 0.001
"""Budget of a query that could only be sent after its deadline: the field must be above 0."""

OUTCOMES = {
    grpc.StatusCode.RESOURCE_EXHAUSTED: Outcome.REJECTED,
    grpc.StatusCode.DEADLINE_EXCEEDED: Outcome.EXPIRED,
}
"""What a call without an answer means; every other status is a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client knows of one query in the end.

    Attributes:
        index: Place in the order of arrival; the seed of the image.
        prompt_id: Which prompt.
        arrival_s: When it was to be sent, seconds since the start of the replay.
        lag_s: How much later it was sent.
        latency_s: From ``arrival_s`` to the answer.
        outcome: How it ended.
        variant_id: Who drew the image; empty without one.
        cascade_id: Which cascade served it; empty without an answer.
        error: What the deployment said instead of an answer.
        times: Where the time went, by the load balancer's clock; zeros without an answer.
        num_bytes: Of the encoded image.
    """

    index: int
    prompt_id: int
    arrival_s: float
    lag_s: float
    latency_s: float
    outcome: Outcome
    variant_id: str = ""
    cascade_id: str = ""
    error: str = ""
    times: common_pb2.StageTimes = field(default_factory=common_pb2.StageTimes)
    num_bytes: int = 0

    @property
    def is_bypassed(self) -> bool:
        """Whether it went to the heavy variant without a light image."""
        return self.outcome is Outcome.HEAVY and not self.times.light_execution_s


def numbered_prompt(prompt_id: int) -> str:
    """Return a prompt for a number; a mock draws anything."""
    return f"prompt number {prompt_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is called, and how.

    Attributes:
        address: ``host:port`` of the load balancer.
        slo_s: Deadline of each query, from the instant at which it was to be sent.
        window_s: Length of the report's windows.
        prompt_of: Prompt by number.
        cascade_id: Cascade or request class to ask for; empty: the deployment's default.
        answering: Cascades whose answers can be counted; empty: any.
    """

    address: str
    slo_s: float
    window_s: float = WINDOW_S
    prompt_of: Callable[[int], str] = numbered_prompt
    cascade_id: str = ""
    answering: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay came to.

    Attributes:
        recorder: The simulator's own counts.
        answers: One per query, in the order of arrival.
    """

    recorder: Recorder
    answers: Sequence[Answer]

    def lag_s(self, quantile: float) -> float:
        """Return how late queries were sent; much of it means that the client was too busy."""
        return lag_quantile_s([answer.lag_s for answer in self.answers], quantile)


def _ignore(now_s: float) -> None:
    """Show no progress."""


async def replay(
    target: Target,
    arrivals: Iterable[Arrival],
    on_progress: Callable[[float], None] = _ignore,
) -> Replayed:
    """Send every query at its time; return when each has its outcome.

    Latencies count from the planned instant, so that a late start is not forgiven.

    Args:
        target: What is called.
        arrivals: In order, seconds from now.
        on_progress: Called with the seconds since the start, at every query.

    Raises:
        TimeoutError: nobody listens at the address.
        InputError: the deployment does not know the cascade, and nothing was sent; or another one
            answered, which ends the replay.
    """
    recorder = Recorder(target.window_s)
    answers: list[Answer] = []

    async def one(index: int, arrival: Arrival, began_s: float) -> None:
        recorder.arrived(arrival.arrival_s)
        answer = await Call(stub, target, began_s).made(index, arrival)
        _check_answer(answer, target)
        ended_s = answer.arrival_s + answer.latency_s
        deadline_s = answer.arrival_s + target.slo_s
        recorder.finished(
            *(answer.arrival_s, deadline_s, answer.outcome, ended_s),
            cascade_id=answer.cascade_id,
            is_bypassed=answer.is_bypassed,
        )
        answers.append(answer)

    async with open_channel(target.address) as channel:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await channel.channel_ready()
        stub = ImageGenerationStub(channel)
        await _check_cascade(stub, target)
        try:
            await send_all(arrivals, one, on_progress)
        except* InputError as several:
            raise several.exceptions[0] from None
    return Replayed(recorder, sorted(answers, key=lambda answer: answer.index))


async def _check_cascade(stub: Any, target: Target) -> None:
    """Find out whether the cascade is known, by a query that is refused for its deadline if so.

    Raises:
        InputError: it is not; names the field ``cascade_id``.
        DiffServeError: something else is wrong with the deployment.
    """
    if not target.cascade_id:
        return
    refused = generation_pb2.GenerateRequest(cascade_id=target.cascade_id, deadline_s=0.0)
    try:
        await stub.Generate(refused, timeout=CONNECT_TIMEOUT_S)
    except grpc.aio.AioRpcError as failure:
        error = from_call(failure)
        if not (isinstance(error, InputError) and error.field == "deadline_s"):
            raise error from None


def _check_answer(answer: Answer, target: Target) -> None:
    """Refuse an answer of a cascade that the report would know nothing of."""
    if answer.cascade_id and target.answering and answer.cascade_id not in target.answering:
        raise InputError(
            "cascade_id",
            f"{target.cascade_id!r} was answered by {answer.cascade_id!r} there, "
            f"not by {' or '.join(sorted(target.answering))}",
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One call by gRPC.

    Attributes:
        stub: Of the load balancer.
        target: What is asked for.
        began_s: When the replay began, monotonic.
    """

    stub: Any
    target: Target
    began_s: float

    async def made(self, index: int, arrival: Arrival) -> Answer:
        """Make one call; every way in which it can end is an outcome."""
        sent_s = time.monotonic() - self.began_s
        left_s = max(SOONEST_S, arrival.arrival_s + self.target.slo_s - sent_s)
        request = generation_pb2.GenerateRequest(
            parameters=common_pb2.GenerationParameters(
                prompt=self.target.prompt_of(arrival.prompt_id), seed=index
            ),
            cascade_id=self.target.cascade_id,
            deadline_s=left_s,
        )
        response: generation_pb2.GenerateResponse | None = None
        outcome, error = Outcome.FAILED, ""
        try:
            response = await self.stub.Generate(request, timeout=left_s + CALL_MARGIN_S)
            outcome = convert.outcome_from_proto(response.outcome) or Outcome.FAILED
        except grpc.aio.AioRpcError as failure:
            outcome = OUTCOMES.get(failure.code(), Outcome.FAILED)
            error = f"{failure.code().name}: {failure.details()}"
        return Answer(
            index=index,
            prompt_id=arrival.prompt_id,
            arrival_s=arrival.arrival_s,
            lag_s=sent_s - arrival.arrival_s,
            latency_s=time.monotonic() - self.began_s - arrival.arrival_s,
            outcome=outcome,
            variant_id=response.variant_id if response else "",
            cascade_id=response.cascade_id if response else "",
            error=error,
            times=response.times if response else common_pb2.StageTimes(),
            num_bytes=len(response.image.data) if response else 0,
        )
