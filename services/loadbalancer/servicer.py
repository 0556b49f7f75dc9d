"""``ImageGeneration``: the clients' door."""

from __future__ import annotations

import math
import random
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc

from diffserve.catalog import Catalog
from diffserve.core import Outcome, Query
from diffserve.errors import (
    BackendError,
    DeadlineError,
    DiffServeError,
    NotFoundError,
    OverloadedError,
)
from diffserve.policy.actions import Finish
from diffserve.rpc import status
from diffserve.rpc.v1 import common_pb2, generation_pb2, generation_pb2_grpc
from services.loadbalancer.dispatcher import Dispatcher
from services.loadbalancer.live import LiveQuery
from services.loadbalancer.validation import check_request, preference

Context = grpc.aio.ServicerContext[Any, Any]


class ImageGenerationServicer(generation_pb2_grpc.ImageGenerationServicer):
    """Checks requests, hands them to the dispatcher and waits for the answer."""

    def __init__(self, catalog: Catalog, dispatcher: Dispatcher) -> None:
        self._catalog = catalog
        self._dispatcher = dispatcher

    @status.unary
    async def Generate(  # noqa: D102 - documented in the proto
        self, request: generation_pb2.GenerateRequest, context: Context
    ) -> generation_pb2.GenerateResponse:
        live = self._submit(request, context, is_streaming=False)
        try:
            await live.done.wait()
        finally:
            self._dispatcher.cancel(live.query.query_id)  # only acts if the client left
        return _answer(live)

    @status.streaming
    async def GenerateStream(  # noqa: D102 - documented in the proto
        self, request: generation_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[generation_pb2.GenerateEvent]:
        live = self._submit(request, context, is_streaming=True)
        assert live.events is not None
        try:
            while True:
                event = await live.events.get()
                if event.WhichOneof("event") is None:
                    _answer(live)  # raises: it ended without an image
                yield event
                if event.HasField("done"):
                    return
        finally:
            self._dispatcher.cancel(live.query.query_id)

    @status.unary
    async def GetQuery(  # noqa: D102 - documented in the proto
        self, request: generation_pb2.GetQueryRequest, context: Context
    ) -> generation_pb2.QueryRecord:
        record = self._dispatcher.record(request.query_id)
        if record is None:
            raise NotFoundError(f"query_id: {request.query_id!r} is not known (any more)")
        return record

    def _submit(
        self, request: generation_pb2.GenerateRequest, context: Context, *, is_streaming: bool
    ) -> LiveQuery:
        cascade = check_request(request, self._catalog)
        now_s = time.monotonic()
        budgets_s = [cascade.slo_s, context.time_remaining() or math.inf]
        if request.HasField("deadline_s"):
            budgets_s.append(request.deadline_s)
        parameters = self._complete(request.parameters, cascade.heavy)
        query = Query(
            query_id=request.query_id or uuid.uuid4().hex,
            cascade_id=cascade.cascade_id,
            arrival_s=now_s,
            deadline_s=now_s + min(budgets_s),
            preference=preference(request),
            compat_key=_compat_key(parameters),
        )
        return self._dispatcher.submit(query, cascade, parameters, is_streaming=is_streaming)

    def _complete(
        self, given: common_pb2.GenerationParameters, variant_id: str
    ) -> common_pb2.GenerationParameters:
        """Fill in what the client left open: size and seed."""
        variant = self._catalog.variants[variant_id]
        parameters = common_pb2.GenerationParameters()
        parameters.CopyFrom(given)
        parameters.width = given.width or variant.width
        parameters.height = given.height or variant.height
        if not given.HasField("seed"):
            parameters.seed = random.getrandbits(32)
        return parameters


def _compat_key(parameters: common_pb2.GenerationParameters) -> str:
    """Return what queries of one batch must have in common."""
    guidance = parameters.guidance_scale if parameters.HasField("guidance_scale") else None
    return (
        f"{parameters.width}x{parameters.height}"
        f"/{parameters.num_inference_steps}/{guidance}/{bool(parameters.negative_prompt)}"
    )


def _answer(live: LiveQuery) -> generation_pb2.GenerateResponse:
    """Return the image, or raise what the outcome means to the client."""
    finish = live.finish
    if finish is None:
        raise DiffServeError("the query ended without an outcome")
    if finish.outcome.is_answered:
        return live.response()
    raise _error(finish)


def _error(finish: Finish) -> DiffServeError:
    if finish.outcome is Outcome.REJECTED:
        return OverloadedError(
            finish.reason,
            predicted_wait_s=finish.predicted_wait_s,
            retry_after_s=finish.retry_after_s,
        )
    if finish.outcome is Outcome.EXPIRED:
        return DeadlineError(finish.reason)
    return BackendError(finish.reason)
