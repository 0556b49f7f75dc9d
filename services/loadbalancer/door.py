"""What every front door does with a request: check it, submit it, tell how it ended."""

from __future__ import annotations

import math
import random
import time
import uuid
from collections.abc import AsyncGenerator

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
from diffserve.rpc.v1 import common_pb2, generation_pb2
from services.loadbalancer.dispatcher import Dispatcher
from services.loadbalancer.live import LiveQuery
from services.loadbalancer.validation import check_request, preference


class Door:
    """Requests in, answers out; gRPC and HTTP are two ways to knock."""

    def __init__(self, catalog: Catalog, dispatcher: Dispatcher) -> None:
        self._catalog = catalog
        self._dispatcher = dispatcher

    async def answer(
        self, request: generation_pb2.GenerateRequest, budget_s: float = math.inf
    ) -> generation_pb2.GenerateResponse:
        """Return the image. Cancelling this call is the client leaving.

        Args:
            request: What is asked for.
            budget_s: Seconds that the caller's own deadline leaves.

        Raises:
            DiffServeError: what the outcome means to the client.
        """
        live = self._submit(request, budget_s, is_streaming=False)
        try:
            await live.done.wait()
        finally:
            self._dispatcher.cancel(live.query.query_id)  # only acts if the client left
        return _answer(live)

    async def events(
        self, request: generation_pb2.GenerateRequest, budget_s: float = math.inf
    ) -> AsyncGenerator[generation_pb2.GenerateEvent, None]:
        """Yield what happens to a query, ``done`` last; closing it is the client leaving.

        Raises like ``answer``.
        """
        live = self._submit(request, budget_s, is_streaming=True)
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

    def record(self, query_id: str) -> generation_pb2.QueryRecord:
        """Return where a query stands, or how it ended.

        Raises:
            NotFoundError: it is not known.
        """
        record = self._dispatcher.record(query_id)
        if record is None:
            raise NotFoundError(f"query_id: {query_id!r} is not known (any more)")
        return record

    def _submit(
        self, request: generation_pb2.GenerateRequest, budget_s: float, *, is_streaming: bool
    ) -> LiveQuery:
        name = check_request(request, self._catalog)
        cascade = self._catalog.cascades[self._dispatcher.balancer.route(name)]
        now_s = time.monotonic()
        budgets_s = [cascade.slo_s, budget_s]
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
