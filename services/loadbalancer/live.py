"""A query while the load balancer works on it, and what is remembered of it afterwards."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from diffserve.core import Cascade, Outcome, Query
from diffserve.policy.actions import Finish
from diffserve.rpc import convert
from diffserve.rpc.v1 import common_pb2, generation_pb2, worker_pb2
from services.loadbalancer.story import Story

Listener = asyncio.Queue[generation_pb2.GenerateEvent]
"""Where the events of a call go."""


@dataclass(slots=True)
class Drawing:
    """An image and who drew it.

    Attributes:
        result: The worker's answer; holds the image.
        variant_id: Which variant.
        worker_id: Which worker.
    """

    result: worker_pb2.QueryResult
    variant_id: str
    worker_id: str


@dataclass(slots=True)
class LiveQuery:
    """Everything but the decisions: payload, images, times, and who waits for the answer.

    Attributes:
        query: What the policy sees.
        cascade: Which cascade serves it.
        parameters: What to draw; seed and size are set.
        times: Where the time went so far.
        waiting_since_s: When the present wait began.
        light: Light image, once drawn.
        heavy: Heavy image, once drawn.
        plan_id: Plan in force at the last decision.
        finish: How it ended, once it did.
        done: Set with ``finish``.
        asked: The request, as the client sent it.
        index: Which image of its call it is.
        is_repeatable: The client chose the id and may ask for it again.
        num_callers: Calls that wait for the answer.
        listeners: Queues of the streaming ones among them.
        history: Events so far that late listeners are told.
        story: What happened to it.
    """

    query: Query
    cascade: Cascade
    parameters: common_pb2.GenerationParameters
    waiting_since_s: float
    times: common_pb2.StageTimes = field(default_factory=common_pb2.StageTimes)
    light: Drawing | None = None
    heavy: Drawing | None = None
    plan_id: int = 0
    finish: Finish | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
    story: Story = field(default_factory=Story)
    asked: generation_pb2.GenerateRequest = field(default_factory=generation_pb2.GenerateRequest)
    index: int = 0
    is_repeatable: bool = False
    num_callers: int = 0
    listeners: list[Listener] = field(default_factory=list)
    history: list[generation_pb2.GenerateEvent] = field(default_factory=list)

    @property
    def is_streamed(self) -> bool:
        """Whether anybody wants to hear what happens on the way."""
        return bool(self.listeners)

    def join(self, listener: Listener | None) -> None:
        """Add a call that waits for the answer; a listener hears what it missed first.

        Args:
            listener: Where events go; None for a call that only waits for ``done``.
        """
        self.num_callers += 1
        if listener is None:
            return
        for event in self.history:
            listener.put_nowait(event)
        if self.finish is None:
            self.listeners.append(listener)
        else:
            listener.put_nowait(self._last_event())

    def leave(self, listener: Listener | None) -> bool:
        """Take a call away; return whether nobody is left."""
        self.num_callers -= 1
        if listener in self.listeners:
            self.listeners.remove(listener)
        return self.num_callers == 0

    def emit(self, event: generation_pb2.GenerateEvent, *, is_lasting: bool = True) -> None:
        """Send an event to streaming clients; a lasting one also to those who come later."""
        if not self.listeners:
            return
        event.query_id, event.index = self.query.query_id, self.index
        if is_lasting:
            self.history.append(event)
        for listener in self.listeners:
            listener.put_nowait(event)

    def end(self) -> None:
        """Wake everybody who waits; ``finish`` is set. An event without a kind: no answer."""
        self.done.set()
        self.history.clear()
        if self.listeners:
            self.emit(self._last_event(), is_lasting=False)

    def _last_event(self) -> generation_pb2.GenerateEvent:
        assert self.finish is not None
        event = generation_pb2.GenerateEvent(query_id=self.query.query_id, index=self.index)
        if self.finish.outcome.is_answered:
            event.done.CopyFrom(self.response())
        return event

    def keep_final_image(self) -> int:
        """Drop the light image of a query that a heavy one answers; return the bytes kept."""
        assert self.finish is not None
        is_heavy = self.finish.outcome is Outcome.HEAVY
        if is_heavy and self.light is not None:
            self.light.result.ClearField("image")
        drawing = self.heavy if is_heavy else self.light
        return len(drawing.result.image.data) if drawing is not None else 0

    def emit_preview(self, reason: str) -> None:
        """Send the light image as a preview to a streaming client."""
        if not self.listeners or self.light is None:
            return
        result = self.light.result
        preview = generation_pb2.PreviewEvent(image=result.image, reason=reason)
        if result.HasField("confidence"):
            preview.confidence = result.confidence
        self.emit(generation_pb2.GenerateEvent(preview=preview))

    def response(self) -> generation_pb2.GenerateResponse:
        """Return the answer of a query that ended with an image."""
        assert self.finish is not None
        drawing = self.heavy if self.finish.outcome is Outcome.HEAVY else self.light
        assert drawing is not None
        response = generation_pb2.GenerateResponse(
            query_id=self.query.query_id,
            image=drawing.result.image,
            outcome=convert.outcome_to_proto(self.finish.outcome),
            variant_id=drawing.variant_id,
            cascade_id=self.cascade.cascade_id,
            seed=self.parameters.seed,
            times=self.times,
            plan_id=self.plan_id,
            worker_id=drawing.worker_id,
            reason=self.finish.reason,
            unknown_words=drawing.result.unknown_words,
        )
        if self.light is not None and self.light.result.HasField("confidence"):
            response.confidence = self.light.result.confidence
            response.percentile = self.light.result.percentile
        return response

    def account(self) -> Account:
        """Return what is to be told of the query so far; without images."""
        result = self.light.result if self.light is not None else None
        is_scored = result is not None and result.HasField("confidence")
        return Account(
            query_id=self.query.query_id,
            cascade_id=self.cascade.cascade_id,
            arrival_s=self.query.arrival_s,
            score=(result.confidence, result.percentile) if result and is_scored else None,
            story=self.story,
            finish=self.finish,
            times=self.times,
        )


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of a query but its images. Cheap to make: few are ever asked for.

    Attributes:
        query_id: Its id.
        cascade_id: Which cascade serves it.
        arrival_s: When it came.
        score: Confidence and percentile of its light image, each 0..1; None without.
        story: What happened to it.
        finish: How it ended, once it did.
        times: Where the time went.
    """

    query_id: str
    cascade_id: str
    arrival_s: float
    score: tuple[float, float] | None
    story: Story
    finish: Finish | None
    times: common_pb2.StageTimes

    def record(self, phase: str, now_s: float) -> generation_pb2.QueryRecord:
        """Return it as clients are told."""
        record = generation_pb2.QueryRecord(
            query_id=self.query_id,
            phase=phase,
            cascade_id=self.cascade_id,
            age_s=now_s - self.arrival_s,
            steps=self.story.messages(self.arrival_s),
        )
        if self.score is not None:
            record.confidence, record.percentile = self.score
        if self.finish is not None:
            record.outcome = convert.outcome_to_proto(self.finish.outcome)
            record.reason = self.finish.reason
            record.times.CopyFrom(self.times)
        return record


class Records:
    """The newest finished queries, for ``GetQuery``."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._accounts: OrderedDict[str, Account] = OrderedDict()

    def __contains__(self, query_id: str) -> bool:
        """Return whether a finished query is still remembered."""
        return query_id in self._accounts

    def is_answered(self, query_id: str) -> bool:
        """Return whether a query is remembered as answered with an image."""
        account = self._accounts.get(query_id)
        return bool(account and account.finish and account.finish.outcome.is_answered)

    def add(self, live: LiveQuery) -> None:
        """Remember a finished query; the oldest one is forgotten when there are too many."""
        self._accounts[live.query.query_id] = live.account()
        if len(self._accounts) > self._capacity:
            self._accounts.popitem(last=False)

    def get(self, query_id: str, now_s: float) -> generation_pb2.QueryRecord | None:
        """Return the record of a finished query, or None."""
        account = self._accounts.get(query_id)
        return account.record("done", now_s) if account is not None else None
