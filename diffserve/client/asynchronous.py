"""The asyncio client."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any

import grpc

from diffserve.client import messages
from diffserve.client.calls import SharedCalls
from diffserve.client.retries import Retries
from diffserve.client.tracing import client_span
from diffserve.client.values import (
    DEFAULT_ADDRESS,
    Event,
    GeneratedImage,
    QueryRecord,
    Wish,
)
from diffserve.core import NUM_IMAGES_MAX
from diffserve.errors import BackendError, DiffServeError, InputError
from diffserve.observability.propagation import traceparent_of
from diffserve.rpc.channel import open_channel
from diffserve.rpc.status import from_call
from diffserve.rpc.v1 import generation_pb2, generation_pb2_grpc

CALL_MARGIN_S = 5.0
"""The RPC outlives the query's deadline by this, to hear what became of it."""
CALL_TIMEOUT_S = 600.0
"""Deadline of the RPC where the caller gave none; the SLO of the cascade is shorter."""
QUERY_TIMEOUT_S = 10.0
"""Deadline of the question where a query stands."""
CALL_TIMEOUT_MAX_S = 7 * 86400.0
"""Longest deadline of an RPC: gRPC's clock runs over with numbers that a query may well ask for."""


class AsyncClient:
    """Draws images; use it with ``async with``, from one event loop.

    One client is one connection and serves any number of concurrent calls. Cancelling a call stops
    the work for it on the server.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, retries: Retries | None = None) -> None:
        """Make a client; it connects with the first call.

        Args:
            address: ``host:port`` of a load balancer, or a name that resolves to several.
            retries: What to try again; ``Retries(num_max=0)`` for nothing.
        """
        self._retries = retries or Retries()
        self._channel = open_channel(address)
        self._stub = generation_pb2_grpc.ImageGenerationStub(self._channel)
        self._calls = SharedCalls(self._stub)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def connect(self, timeout_s: float) -> None:
        """Connect now instead of with the first call.

        Args:
            timeout_s: How long to wait for a server.

        Raises:
            TimeoutError: none answers.
        """
        async with asyncio.timeout(timeout_s):
            await self._channel.channel_ready()

    async def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        await self._calls.close()
        await self._channel.close()

    async def generate(self, prompt: str | Wish, /, **wishes: Any) -> GeneratedImage:
        """Draw one image; the wish is for no more.

        Args:
            prompt: What to draw, or a whole wish.
            **wishes: Fields of ``Wish``, with a prompt of text.

        Raises:
            InputError: a field is unusable; names it.
            OverloadedError: refused; says when to retry.
            DeadlineError: no image in time.
            UnavailableError: no server answers.
            BackendError: the variant failed.
            AlreadyExistsError: the wish's ``query_id`` belongs to another one.
        """
        wish = wish_of(prompt, wishes)
        if wish.n in range(2, NUM_IMAGES_MAX + 1):
            raise InputError("n", f"must be 1, not {wish.n}; several come from `generate_all`")
        return (await self.generate_all(wish))[0]

    async def generate_all(
        self, prompt: str | Wish, /, **wishes: Any
    ) -> tuple[GeneratedImage, ...]:
        """Draw ``n`` images, spread over the workers; all or none. Otherwise like ``generate``."""
        wish = wish_of(prompt, wishes)
        # Not its own stream: nobody listens to what happens on the way, and telling it costs.
        answer = await self._answer(wish, messages.request_of(wish, uuid.uuid4().hex))
        images = tuple(messages.image_of(image) for image in (answer, *answer.others))
        if len(images) != wish.n:
            raise BackendError(f"the answer holds {len(images)} images instead of {wish.n}")
        return images

    async def _answer(
        self, wish: Wish, request: generation_pb2.GenerateRequest
    ) -> generation_pb2.GenerateResponse:
        """Return what the server answers, trying again what may be tried again."""
        end_s = _end_s(wish)
        num_tries = 0
        with client_span(wish, request.query_id) as metadata:
            while True:
                num_tries += 1
                try:
                    return await self._calls.generate(
                        request, _timeout_s(end_s), traceparent_of(metadata)
                    )
                except DiffServeError as error:
                    failure = error
                await self._pause(failure, num_tries, end_s)
                _shorten(request, end_s)

    async def stream(self, prompt: str | Wish, /, **wishes: Any) -> AsyncGenerator[Event, None]:
        """Draw ``n`` images and yield what happens on the way; each one's last event is ``Done``.

        A preview of a deferred query comes as ``Deferred``. After a connection is lost on the way
        and found again, events may repeat. Raises like ``generate``.
        """
        wish = wish_of(prompt, wishes)
        request = messages.request_of(wish, uuid.uuid4().hex)
        end_s = _end_s(wish)
        num_tries = 0
        with client_span(wish, request.query_id) as metadata:
            while True:
                num_tries += 1
                call = self._stub.GenerateStream(
                    request, timeout=_timeout_s(end_s), metadata=metadata
                )
                try:
                    async for message in call:
                        event = messages.event_of(message)
                        if event is not None:
                            yield event
                    return
                except grpc.aio.AioRpcError as error:
                    failure = from_call(error)
                finally:
                    call.cancel()  # does nothing once it has ended
                await self._pause(failure, num_tries, end_s)
                _shorten(request, end_s)

    async def get_query(self, query_id: str) -> QueryRecord:
        """Return where a query stands, or how it ended, while this load balancer remembers it.

        Raises:
            InputError: the id is no text.
            NotFoundError: it does not know the query (any more).
            UnavailableError: no server answers.
        """
        request = messages.query_request_of(query_id)
        try:
            return messages.record_of(await self._stub.GetQuery(request, timeout=QUERY_TIMEOUT_S))
        except grpc.aio.AioRpcError as error:
            raise from_call(error) from None

    async def _pause(self, failure: DiffServeError, num_tries: int, end_s: float) -> None:
        pause_s = self._retries.pause_after(failure, num_tries, end_s - time.monotonic())
        if pause_s is None:
            raise failure
        await asyncio.sleep(pause_s)


def _end_s(wish: Wish) -> float:
    """Return when the wish's own deadline ends, monotonic clock."""
    return math.inf if wish.deadline_s is None else time.monotonic() + wish.deadline_s


def _timeout_s(end_s: float) -> float:
    if end_s == math.inf:
        return CALL_TIMEOUT_S
    return min(max(0.0, end_s - time.monotonic()) + CALL_MARGIN_S, CALL_TIMEOUT_MAX_S)


def _shorten(request: generation_pb2.GenerateRequest, end_s: float) -> None:
    """Ask for no more than the time that is left."""
    if end_s != math.inf:
        request.deadline_s = max(1e-3, end_s - time.monotonic())


def wish_of(prompt: str | Wish, wishes: dict[str, Any]) -> Wish:
    """Return the wish of a call.

    Raises:
        TypeError: fields beside a whole wish, or a field that there is not.
    """
    if isinstance(prompt, Wish):
        if wishes:
            raise TypeError(f"a whole wish was given; unexpected {', '.join(sorted(wishes))}")
        return prompt
    return Wish(prompt=prompt, **wishes)
