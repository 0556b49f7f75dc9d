"""Calls that share one open stream: half the cost of a gRPC call each."""

from __future__ import annotations

import asyncio
import itertools

import grpc

from diffserve.errors import DeadlineError, DiffServeError, UnavailableError
from diffserve.rpc.status import from_bytes, from_code
from diffserve.rpc.streams import OpenStream, join, split
from diffserve.rpc.v1 import generation_pb2, generation_pb2_grpc

_Stream = OpenStream[generation_pb2.GenerateManyRequest, generation_pb2.GenerateManyResponse]
_Answer = asyncio.Future[generation_pb2.GenerateResponse]


_NOT_WRITTEN = "Internal error from Core"
"""Details of the status that gRPC makes up when the stream ended before a write was over."""


class SharedCalls:
    """Calls of ``Generate`` on one stream, which is opened with the first and after it broke."""

    def __init__(self, stub: generation_pb2_grpc.ImageGenerationAsyncStub) -> None:
        self._stub = stub
        self._stream: _Stream | None = None
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[_Answer, _Stream]] = {}

    async def generate(
        self, request: generation_pb2.GenerateRequest, timeout_s: float, traceparent: str
    ) -> generation_pb2.GenerateResponse:
        """Return the answer; cancelling is leaving.

        Args:
            request: What is asked for.
            timeout_s: When to give up.
            traceparent: Of the caller's span; empty: it has none.

        Raises:
            UnavailableError: the stream broke; the server may have taken the request.
            DiffServeError: what the server answered instead, or no answer in time.
        """
        stream, call_id = self._opened(), next(self._ids)
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._waiting[call_id] = (answer, stream)
        stream.send(
            generation_pb2.GenerateManyRequest(
                call_id=call_id, begin=request, traceparent=traceparent
            )
        )
        try:
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            raise DeadlineError(f"no answer within {timeout_s:.3g} s") from None
        finally:
            if self._waiting.pop(call_id, None) is not None and stream.is_open:
                left = generation_pb2.CallLeft()
                stream.send(generation_pb2.GenerateManyRequest(call_id=call_id, leave=left))

    async def close(self) -> None:
        """End the stream; calls in progress fail."""
        if self._stream is not None:
            await self._stream.close()
            self._broken(self._stream, grpc.StatusCode.CANCELLED, "the client was closed")

    def _opened(self) -> _Stream:
        if self._stream is None or not self._stream.is_open:
            self._stream = OpenStream(self._stub.GenerateMany, self._replied, self._broken, join)
        return self._stream

    def _replied(self, message: generation_pb2.GenerateManyResponse) -> None:
        for reply in split(message):
            answer, _ = self._waiting.pop(reply.call_id, (None, None))
            if answer is None or answer.done():
                continue  # its caller has left
            if reply.HasField("response"):
                answer.set_result(reply.response)
            else:
                _, error = from_bytes(reply.status)
                answer.set_exception(error)

    def _broken(self, stream: _Stream, code: grpc.StatusCode, details: str) -> None:
        for call_id in [c for c, (_, its) in self._waiting.items() if its is stream]:
            answer, _ = self._waiting.pop(call_id)
            if not answer.done():
                answer.set_exception(_error(code, details))


def _error(code: grpc.StatusCode, details: str) -> DiffServeError:
    # A stream that the server cancelled says as little of its calls as a lost connection; so does
    # what gRPC itself says where a message could not be written any more.
    if code is grpc.StatusCode.CANCELLED or details == _NOT_WRITTEN:
        return UnavailableError(details)
    return from_code(code, details)
