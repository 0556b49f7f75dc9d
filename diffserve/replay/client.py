"""Serves arrivals on a load balancer by gRPC, open loop, and counts as the simulator does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from diffserve.client import AsyncClient, GeneratedImage, Retries, Wish
from diffserve.core import Outcome
from diffserve.errors import DeadlineError, DiffServeError, InputError, OverloadedError
from diffserve.replay.open_loop import lag_quantile_s, send_all
from diffserve.sim.quality import WINDOW_S
from diffserve.sim.report import Recorder
from diffserve.sim.workload import Arrival

CONNECT_TIMEOUT_S = 5.0
SOONEST_S = 0.001
"""Budget of a query that could only be sent after its deadline: the field must be above 0."""

ONCE = Retries(num_max=0)
"""A query that is refused counts as refused."""


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
        stage_s: Stage -> seconds, by the load balancer's clock; empty without an answer.
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
    stage_s: Mapping[str, float] = field(default_factory=dict)
    num_bytes: int = 0

    @property
    def is_bypassed(self) -> bool:
        """Whether it went to the heavy variant without a light image."""
        return self.outcome is Outcome.HEAVY and not self.stage_s["light_execution"]


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
        answer = await Call(client, target, began_s).made(index, arrival)
        _check_answer(answer, target)
        ended_s = answer.arrival_s + answer.latency_s
        deadline_s = answer.arrival_s + target.slo_s
        recorder.finished(
            *(answer.arrival_s, deadline_s, answer.outcome, ended_s),
            cascade_id=answer.cascade_id,
            is_bypassed=answer.is_bypassed,
        )
        answers.append(answer)

    async with AsyncClient(target.address, retries=ONCE) as client:
        await client.connect(CONNECT_TIMEOUT_S)
        await _check_cascade(client, target)
        try:
            await send_all(arrivals, one, on_progress)
        except* InputError as several:
            raise several.exceptions[0] from None
    return Replayed(recorder, sorted(answers, key=lambda answer: answer.index))


async def _check_cascade(client: AsyncClient, target: Target) -> None:
    """Find out whether the cascade is known, by a query that is refused for its deadline if so.

    Raises:
        InputError: it is not; names the field ``cascade_id``.
        DiffServeError: something else is wrong with the deployment.
    """
    if not target.cascade_id:
        return
    try:
        await client.generate("", cascade=target.cascade_id, deadline_s=0.0)
    except InputError as error:
        if error.field != "deadline_s":
            raise


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
        client: Of the load balancer; tries nothing again.
        target: What is asked for.
        began_s: When the replay began, monotonic.
    """

    client: AsyncClient
    target: Target
    began_s: float

    async def made(self, index: int, arrival: Arrival) -> Answer:
        """Make one call; every way in which it can end is an outcome."""
        sent_s = time.monotonic() - self.began_s
        wish = Wish(
            prompt=self.target.prompt_of(arrival.prompt_id),
            seed=index,
            cascade=self.target.cascade_id,
            deadline_s=max(SOONEST_S, arrival.arrival_s + self.target.slo_s - sent_s),
        )
        image: GeneratedImage | None = None
        outcome, error = Outcome.FAILED, ""
        try:
            image = await self.client.generate(wish)
            outcome = image.outcome
        except DiffServeError as failure:
            outcome = _outcome_of(failure)
            error = f"{type(failure).__name__}: {failure}"
        return Answer(
            index=index,
            prompt_id=arrival.prompt_id,
            arrival_s=arrival.arrival_s,
            lag_s=sent_s - arrival.arrival_s,
            latency_s=time.monotonic() - self.began_s - arrival.arrival_s,
            outcome=outcome,
            variant_id=image.variant if image else "",
            cascade_id=image.cascade if image else "",
            error=error,
            stage_s=image.stage_s if image else {},
            num_bytes=len(image.data) if image else 0,
        )


def _outcome_of(failure: DiffServeError) -> Outcome:
    """Return what a call without an answer means."""
    if isinstance(failure, OverloadedError):
        return Outcome.REJECTED
    return Outcome.EXPIRED if isinstance(failure, DeadlineError) else Outcome.FAILED
