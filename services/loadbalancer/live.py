"""A query while the load balancer works on it, and what is remembered of it afterwards."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

from diffserve.core import Cascade, Outcome, Query
from diffserve.policy.actions import Finish
from diffserve.rpc import convert
from diffserve.rpc.v1 import common_pb2, generation_pb2, worker_pb2


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
        events: Events for a streaming client; None for a unary one.
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
    events: asyncio.Queue[generation_pb2.GenerateEvent] | None = None

    def emit(self, event: generation_pb2.GenerateEvent) -> None:
        """Send an event to a streaming client."""
        if self.events is not None:
            event.query_id = self.query.query_id
            self.events.put_nowait(event)

    def emit_preview(self, reason: str) -> None:
        """Send the light image as a preview to a streaming client."""
        if self.events is None or self.light is None:
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

    def record(self, phase: str, now_s: float) -> generation_pb2.QueryRecord:
        """Return where the query stands, or how it ended; without images."""
        record = generation_pb2.QueryRecord(
            query_id=self.query.query_id,
            phase=phase,
            cascade_id=self.cascade.cascade_id,
            age_s=now_s - self.query.arrival_s,
        )
        if self.light is not None and self.light.result.HasField("confidence"):
            record.confidence = self.light.result.confidence
            record.percentile = self.light.result.percentile
        if self.finish is not None:
            record.outcome = convert.outcome_to_proto(self.finish.outcome)
            record.reason = self.finish.reason
            record.times.CopyFrom(self.times)
        return record


class Records:
    """The newest finished queries, for ``GetQuery``."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._records: OrderedDict[str, tuple[generation_pb2.QueryRecord, float]] = OrderedDict()

    def __contains__(self, query_id: str) -> bool:
        """Return whether a finished query is still remembered."""
        return query_id in self._records

    def add(self, live: LiveQuery, now_s: float) -> None:
        """Remember a finished query; the oldest one is forgotten when there are too many."""
        self._records[live.query.query_id] = live.record("done", now_s), live.query.arrival_s
        if len(self._records) > self._capacity:
            self._records.popitem(last=False)

    def get(self, query_id: str, now_s: float) -> generation_pb2.QueryRecord | None:
        """Return the record of a finished query, or None."""
        entry = self._records.get(query_id)
        if entry is None:
            return None
        record, arrival_s = entry
        record.age_s = now_s - arrival_s
        return record
