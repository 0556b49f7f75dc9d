"""Open streams: answers in any order, nothing lost when one breaks or is finished."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import pytest

from diffserve.rpc.streams import JOINED_BYTES_MAX, OpenStream, Outbox, answer_many, join, split
from diffserve.rpc.v1.generation_pb2 import GenerateManyResponse as Reply

WAIT_S = 10.0
Stream = OpenStream[bytes, bytes]


@dataclass
class Echo:
    """Answers each request after its own delay; a request is the delay in milliseconds."""

    begun: list[bytes] = field(default_factory=list)
    cancelled: list[bytes] = field(default_factory=list)

    async def serve(self, _: Any, context: Any) -> None:
        await answer_many(context, self._answer)

    async def _answer(self, request: bytes, outbox: Outbox[bytes]) -> None:
        self.begun.append(request)
        if request == b"fault":
            raise ValueError("a fault of the service")
        try:
            await asyncio.sleep(int(request) / 1000)
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        outbox.send(request)


@dataclass
class Caller:
    """What a client hears."""

    replies: list[bytes] = field(default_factory=list)
    broken: list[grpc.StatusCode] = field(default_factory=list)
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    faults: int = 0

    def on_reply(self, reply: bytes) -> None:
        if self.faults:
            raise ValueError("a fault of ours")
        self.replies.append(reply)
        self.stirred.set()

    def on_broken(self, _: Stream, code: grpc.StatusCode, details: str) -> None:
        self.broken.append(code)
        self.stirred.set()


async def until(caller: Caller, *, replies: int = 0, broken: int = 0) -> None:
    async with asyncio.timeout(WAIT_S):
        while len(caller.replies) < replies or len(caller.broken) < broken:
            await caller.stirred.wait()
            caller.stirred.clear()


@contextlib.asynccontextmanager
async def connected(echo: Echo) -> AsyncIterator[tuple[grpc.aio.Server, Any]]:
    server = grpc.aio.server()
    handler = cast(Any, grpc.stream_stream_rpc_method_handler)(echo.serve)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("test", {"echo": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield server, cast(Any, channel).stream_stream("/test/echo")
    await server.stop(None)


async def test_answers_come_as_they_are_ready() -> None:
    caller = Caller()
    async with connected(Echo()) as (_, method):
        stream = Stream(method, caller.on_reply, caller.on_broken)
        stream.send(b"200")
        stream.send(b"1")
        await until(caller, replies=2)
        assert caller.replies == [b"1", b"200"]
        await stream.close()
    assert caller.broken == []


async def test_a_finished_stream_still_gets_what_was_asked() -> None:
    caller = Caller()
    async with connected(Echo()) as (_, method):
        stream = Stream(method, caller.on_reply, caller.on_broken)
        stream.send(b"100")
        stream.finish()
        assert not stream.is_open
        await until(caller, broken=1)
        assert caller.replies == [b"100"]


async def test_a_lost_peer_is_told_once() -> None:
    caller = Caller()
    async with connected(Echo()) as (server, method):
        stream = Stream(method, caller.on_reply, caller.on_broken)
        stream.send(b"60000")
        await asyncio.sleep(0.1)
        await server.stop(None)
        await until(caller, broken=1)
        assert not stream.is_open
        await stream.close()
    assert len(caller.broken) == 1


async def test_what_nobody_waits_for_any_more_is_cancelled() -> None:
    echo, caller = Echo(), Caller()
    async with connected(echo) as (_, method):
        stream = Stream(method, caller.on_reply, caller.on_broken)
        stream.send(b"60000")
        async with asyncio.timeout(WAIT_S):
            while not echo.begun:
                await asyncio.sleep(0.01)
            await stream.close()
            while not echo.cancelled:
                await asyncio.sleep(0.01)
    assert caller.broken == []


async def test_a_fault_in_dealing_with_a_reply_gives_the_stream_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caller = Caller(faults=1)
    async with connected(Echo()) as (_, method):
        stream = Stream(method, caller.on_reply, caller.on_broken)
        stream.send(b"1")
        await until(caller, broken=1)
        await stream.close()
    assert caller.broken == [grpc.StatusCode.INTERNAL]
    assert "a fault of ours" in caplog.text


async def test_a_faulty_answer_breaks_the_call_so_that_nobody_waits_for_it() -> None:
    echo, caller = Echo(), Caller()
    async with connected(echo) as (_, method):
        stream = Stream(method, caller.on_reply, caller.on_broken)
        stream.send(b"60000")
        stream.send(b"fault")
        await until(caller, broken=1)
        await stream.close()
    assert caller.broken == [grpc.StatusCode.UNKNOWN]
    assert echo.cancelled == [b"60000"]


async def test_a_request_that_cannot_be_sent_gives_the_stream_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caller = Caller()
    async with connected(Echo()) as (_, method):
        stream = Stream(method, caller.on_reply, caller.on_broken)
        stream.send(cast(bytes, "not bytes"))
        await until(caller, broken=1)
        await stream.close()
    assert len(caller.broken) == 1
    assert "a request was not sent" in caplog.text


def said(call_id: int, size: int = 0) -> Reply:
    return Reply(call_id=call_id, status=bytes(size))


def test_small_messages_travel_together_and_large_ones_alone() -> None:
    half = JOINED_BYTES_MAX // 2
    asked = [said(1), said(2), said(3, half), said(4, half), said(5, 2 * half), said(6)]
    packed = join(asked)
    assert [[reply.call_id for reply in split(message)] for message in packed] == [
        [1, 2, 3],
        [4],
        [5],
        [6],
    ]
    assert all(message.ByteSize() < 2.1 * JOINED_BYTES_MAX for message in packed)


def test_nothing_is_lost_that_somebody_has_nested() -> None:
    nested = said(1)
    nested.also.append(said(2))
    nested.also[0].also.append(said(3))
    assert [reply.call_id for reply in split(nested)] == [1, 2, 3]


async def test_requests_that_wait_are_joined() -> None:
    echo, caller = Echo(), Caller()
    packs: list[list[bytes]] = []

    def noted(requests: list[bytes]) -> list[bytes]:
        packs.append(list(requests))
        return requests

    async with connected(echo) as (_, method):
        stream = Stream(method, caller.on_reply, caller.on_broken, noted)
        for _ in range(5):
            stream.send(b"1")
        await until(caller, replies=5)
        await stream.close()
    assert packs[0] == [b"1"] * 5
