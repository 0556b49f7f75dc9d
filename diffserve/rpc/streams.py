"""Streams that stay open between services: many requests on one call, answered in any order.

Beginning a gRPC call in Python costs twice as much as a message and its answer on an open stream
(docs/results/overhead.md). So a deployment begins none per batch, and the Python client none per
query. Messages that have a field ``also`` say in one what waits to be sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, Generic, TypeVar, cast

import grpc
from google.protobuf.message import Message

logger = logging.getLogger(__name__)

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")
ItemT = TypeVar("ItemT")
MessageT = TypeVar("MessageT", bound=Message)

JOINED_BYTES_MAX = 65536
"""Of a message that says several things; larger ones travel alone."""


def join(messages: list[MessageT]) -> list[MessageT]:
    """Return as few messages as may be that say the same in this order, by their ``also``."""
    packed: list[MessageT] = []
    room_bytes = 0
    for message in messages:
        num_bytes = message.ByteSize()
        if num_bytes <= room_bytes:
            cast(Any, packed[-1]).also.append(message)
            room_bytes -= num_bytes
        else:
            packed.append(message)
            room_bytes = JOINED_BYTES_MAX - num_bytes
    return packed


def split(message: MessageT) -> Iterator[MessageT]:
    """Yield what a message says, one by one; the inverse of ``join``."""
    yield message
    for other in cast(Any, message).also:
        yield from split(other)  # there are none but from clients that heed no comments


def _as_they_are(items: list[ItemT]) -> list[ItemT]:
    return items


def _alone(item: ItemT) -> tuple[ItemT, ...]:
    return (item,)


class OpenStream(Generic[RequestT, ReplyT]):
    """The client's side of one call; lives on one event loop.

    Attributes:
        is_open: Requests may be sent; never again once it is False.
    """

    def __init__(
        self,
        method: Callable[[], grpc.aio.StreamStreamCall[RequestT, ReplyT]],
        on_reply: Callable[[ReplyT], None],
        on_broken: Callable[[OpenStream[RequestT, ReplyT], grpc.StatusCode, str], None],
        join: Callable[[list[RequestT]], list[RequestT]] = _as_they_are,
    ) -> None:
        """Begin the call.

        Args:
            method: A bidirectional method of a stub.
            on_reply: Gets every reply; the stream is given up where it raises.
            on_broken: Called once when the call ends otherwise than by ``close``, also after
                ``finish``: gets this stream, a code and details.
            join: Returns messages that say the same as those given, 1 or more that wait to be
                sent.
        """
        self.is_open = True
        self._call = method()
        self._on_reply = on_reply
        self._on_broken = on_broken
        self._join = join
        self._waiting: list[RequestT] = []
        self._stirred = asyncio.Event()
        self._is_finishing = False
        self._is_closed = False
        self._writer = asyncio.create_task(self._write())
        self._reader = asyncio.create_task(self._read())

    def send(self, request: RequestT) -> None:
        """Send a request after those before it; what becomes of it is told by the callbacks."""
        self._waiting.append(request)
        self._stirred.set()

    def finish(self) -> None:
        """Send no more; replies still come until the peer has answered everything."""
        self.is_open = False
        self._is_finishing = True
        self._stirred.set()

    async def close(self) -> None:
        """End the call now; no callback is called any more."""
        self.is_open, self._is_closed = False, True
        self._writer.cancel()
        self._reader.cancel()
        self._call.cancel()
        await asyncio.gather(self._writer, self._reader, return_exceptions=True)

    async def _write(self) -> None:
        try:
            while not (self._is_finishing and not self._waiting):
                await self._stirred.wait()
                self._stirred.clear()
                waiting, self._waiting = self._waiting, []
                for message in self._join(waiting) if waiting else ():
                    await self._call.write(message)
            await self._call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the reader learns why
        except Exception:
            logger.exception("a request was not sent; its stream is given up")
            self._call.cancel()

    async def _read(self) -> None:
        code, details = grpc.StatusCode.UNAVAILABLE, "the peer ended the stream"
        try:
            async for reply in self._call:
                self._on_reply(reply)
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details() or ""
        except asyncio.CancelledError:
            if self._is_closed:
                raise
            code, details = grpc.StatusCode.CANCELLED, "the call was given up"
        except Exception:
            # A fault of ours must not leave requests waiting for ever.
            logger.exception("a reply was not dealt with; its stream is given up")
            code, details = grpc.StatusCode.INTERNAL, "a reply was not dealt with"
            self._call.cancel()
        self.is_open = False
        self._writer.cancel()
        self._on_broken(self, code, details)


class Outbox(Generic[ReplyT]):
    """Replies on their way to the client, in order: who sends one need not wait for gRPC."""

    def __init__(self, join: Callable[[list[ReplyT]], list[ReplyT]]) -> None:
        """Start empty.

        Args:
            join: Returns messages that say the same as those given, 1 or more that were sent
                while another one was being written.
        """
        self._waiting: list[ReplyT] = []
        self._marks: list[asyncio.Future[None]] = []
        self._stirred = asyncio.Event()
        self._join = join

    def send(self, reply: ReplyT) -> None:
        """Send a reply after those before it; the call may break before it has left."""
        self._waiting.append(reply)
        self._stirred.set()

    async def sent(self) -> None:
        """Return when everything that was sent until now has left."""
        mark: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._marks.append(mark)
        self._stirred.set()
        await mark

    async def write_to(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Write what is sent, until cancelled or the call breaks."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            waiting, marks = self._waiting, self._marks
            self._waiting, self._marks = [], []
            for message in self._join(waiting) if waiting else ():
                await context.write(message)
            for mark in marks:
                if not mark.done():
                    mark.set_result(None)


async def answer_many(
    context: grpc.aio.ServicerContext[Any, Any],
    answer: Callable[[RequestT, Outbox[ReplyT]], Coroutine[None, None, None]],
    join: Callable[[list[ReplyT]], list[ReplyT]] = _as_they_are,
    split: Callable[[RequestT], Iterable[RequestT]] = _alone,
) -> None:
    """Serve an open stream: every request is answered by a task of its own.

    Returns once the client has closed its side and all is answered; what is being answered when
    the call breaks is cancelled.

    Args:
        context: Of the call.
        answer: Answers a request by any number of replies. One that raises breaks the call, so
            that no request waits for an answer that never comes.
        join: See ``Outbox``.
        split: Returns the requests of a message, in order.
    """
    outbox = Outbox(join)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(outbox.write_to(context))
        async with asyncio.TaskGroup() as answering:
            while (message := await context.read()) is not grpc.aio.EOF:
                for request in split(message):
                    answering.create_task(answer(request, outbox))
        await outbox.sent()
        writing.cancel()
