"""What every front door does with a request: check it, submit it, tell how it ended."""

from __future__ import annotations

import asyncio
import math
import random
import time
import uuid
from collections.abc import AsyncGenerator

from diffserve.activation import CatalogInForce
from diffserve.core import Outcome, Preference, Query, RefusalCause
from diffserve.errors import (
    BackendError,
    DeadlineError,
    DiffServeError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
)
from diffserve.policy.actions import Finish
from diffserve.rpc.v1 import common_pb2, generation_pb2
from services.loadbalancer.dispatcher import Dispatcher
from services.loadbalancer.idempotency import check_number, check_same, singles_of
from services.loadbalancer.live import Listener, LiveQuery
from services.loadbalancer.validation import check_request, preference, priority


class Door:
    """Requests in, answers out; gRPC and HTTP are two ways to knock."""

    def __init__(self, catalog: CatalogInForce, dispatcher: Dispatcher) -> None:
        self._catalog = catalog
        self._dispatcher = dispatcher

    async def answer(
        self, request: generation_pb2.GenerateRequest, budget_s: float = math.inf
    ) -> generation_pb2.GenerateResponse:
        """Return the images, the first with the others in it; cancelling is the client leaving.

        Args:
            request: What is asked for.
            budget_s: Seconds that the caller's own deadline leaves.

        Raises:
            DiffServeError: what the outcome means to the client.
        """
        lives = self._enter(request, budget_s, None)
        try:
            answers = await _all_answers(lives)
        finally:
            self._leave(lives, None)
        answers[0].others.extend(answers[1:])
        return answers[0]

    async def events(
        self, request: generation_pb2.GenerateRequest, budget_s: float = math.inf
    ) -> AsyncGenerator[generation_pb2.GenerateEvent, None]:
        """Yield what happens, each image's ``done`` last; closing it is the client leaving.

        Raises like ``answer``.
        """
        listener: Listener = asyncio.Queue()
        lives = self._enter(request, budget_s, listener)
        num_left = len(lives)
        try:
            while num_left:
                event = await listener.get()
                if event.WhichOneof("event") is None:
                    _answer(lives[event.index])  # raises: it ended without an image
                num_left -= event.HasField("done")
                yield event
        finally:
            self._leave(lives, listener)

    def record(self, query_id: str) -> generation_pb2.QueryRecord:
        """Return where a query stands, or how it ended.

        Raises:
            NotFoundError: it is not known.
        """
        record = self._dispatcher.record(query_id)
        if record is None:
            raise NotFoundError(f"query_id: {query_id!r} is not known (any more)")
        return record

    def _enter(
        self,
        request: generation_pb2.GenerateRequest,
        budget_s: float,
        listener: Listener | None,
    ) -> list[LiveQuery]:
        """Return the queries of a call, new or known by their ids, with the call joined to each."""
        name = check_request(request, self._catalog.current)
        if request.query_id:
            check_number(self._dispatcher.find, request)
        base_id = request.query_id or uuid.uuid4().hex
        lives: list[LiveQuery] = []
        try:
            for index, single in enumerate(singles_of(request, base_id)):
                live = self._dispatcher.find(single.query_id) if request.query_id else None
                is_new = live is None
                if live is None:
                    live = self._query_of(single, single.query_id or base_id, name, budget_s)
                    live.is_repeatable = bool(request.query_id)
                    live.index = index
                else:
                    check_same(live, single, request.query_id)
                live.join(listener)
                if is_new:
                    self._dispatcher.submit(live)
                lives.append(live)
        except DiffServeError:
            self._leave(lives, listener)
            raise
        return lives

    def _leave(self, lives: list[LiveQuery], listener: Listener | None) -> None:
        for live in lives:
            self._dispatcher.leave(live, listener)  # only acts if it has not ended

    def _query_of(
        self, request: generation_pb2.GenerateRequest, query_id: str, name: str, budget_s: float
    ) -> LiveQuery:
        """Return a new query for one image."""
        wanted = preference(request)
        cascade_id = self._dispatcher.balancer.route(name, wanted)
        cascade = self._catalog.current.cascades[cascade_id]
        now_s = time.monotonic()
        budgets_s = [self._dispatcher.balancer.slo_s(cascade_id), budget_s]
        if request.HasField("deadline_s"):
            budgets_s.append(request.deadline_s)
        parameters = self._complete(request.parameters, cascade.heavy)
        query = Query(
            query_id=query_id,
            cascade_id=cascade_id,
            arrival_s=now_s,
            deadline_s=now_s + min(budgets_s),
            preference=wanted,
            compat_key=_compat_key(parameters, wanted),
            priority=priority(request),
            tenant=request.tenant,
            is_usual=self._is_usual(request.parameters, cascade.heavy),
        )
        return LiveQuery(query, cascade, parameters, now_s, asked=request)

    def _is_usual(self, given: common_pb2.GenerationParameters, variant_id: str) -> bool:
        variant = self._catalog.current.variants[variant_id]
        size = (given.width or variant.width, given.height or variant.height)
        return size == (variant.width, variant.height) and not _has_wishes(given)

    def _complete(
        self, given: common_pb2.GenerationParameters, variant_id: str
    ) -> common_pb2.GenerationParameters:
        """Fill in what the client left open: size and seed."""
        variant = self._catalog.current.variants[variant_id]
        parameters = common_pb2.GenerationParameters()
        parameters.CopyFrom(given)
        parameters.width = given.width or variant.width
        parameters.height = given.height or variant.height
        if not given.HasField("seed"):
            parameters.seed = random.getrandbits(32)
        return parameters


def _has_wishes(parameters: common_pb2.GenerationParameters) -> bool:
    """Return whether steps or guidance are asked for."""
    return parameters.num_inference_steps > 0 or parameters.HasField("guidance_scale")


def _compat_key(parameters: common_pb2.GenerationParameters, wanted: Preference) -> str:
    """Return what queries of one batch must have in common."""
    guidance = parameters.guidance_scale if parameters.HasField("guidance_scale") else None
    # Wishes are for the variant that draws last: the light one heeds only these queries' own.
    is_light_last = _has_wishes(parameters) and wanted is Preference.LIGHT
    return (
        f"{parameters.width}x{parameters.height}"
        f"/{parameters.num_inference_steps}/{guidance}/{bool(parameters.negative_prompt)}"
        f"/{is_light_last}"
    )


async def _all_answers(lives: list[LiveQuery]) -> list[generation_pb2.GenerateResponse]:
    """Return all images once they are there; raise as soon as one is not to be had."""
    if len(lives) == 1:
        await lives[0].done.wait()
        return [_answer(lives[0])]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_answer_of(live)) for live in lives]
    except* DiffServeError as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


async def _answer_of(live: LiveQuery) -> generation_pb2.GenerateResponse:
    await live.done.wait()
    return _answer(live)


def _answer(live: LiveQuery) -> generation_pb2.GenerateResponse:
    """Return the image, or raise what the outcome means to the client."""
    finish = live.finish
    if finish is None:
        raise DiffServeError("the query ended without an outcome")
    if finish.outcome.is_answered:
        return live.response()
    raise _error(finish)


def _error(finish: Finish) -> DiffServeError:
    if finish.outcome is Outcome.REJECTED and finish.cause is RefusalCause.NO_WORKER:
        return UnavailableError(finish.reason)
    if finish.outcome is Outcome.REJECTED:
        return OverloadedError(
            finish.reason,
            predicted_wait_s=finish.predicted_wait_s,
            retry_after_s=finish.retry_after_s,
            cause=finish.cause.value,
        )
    if finish.outcome is Outcome.EXPIRED:
        return DeadlineError(finish.reason)
    return BackendError(finish.reason)
