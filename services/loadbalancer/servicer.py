"""``ImageGeneration``: the clients' door by gRPC."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any

import grpc

from diffserve.observability.propagation import incoming, traceparent_of
from diffserve.rpc import status
from diffserve.rpc.streams import answer_many, join, split
from diffserve.rpc.v1 import generation_pb2, generation_pb2_grpc
from services.loadbalancer.door import Door
from services.loadbalancer.many import ManyCalls

Context = grpc.aio.ServicerContext[Any, Any]


class ImageGenerationServicer(generation_pb2_grpc.ImageGenerationServicer):
    """Hands requests to the door; errors become statuses."""

    def __init__(self, door: Door, *, is_traced: bool = False) -> None:
        self._door = door
        self._is_traced = is_traced

    @status.unary
    async def Generate(  # noqa: D102 - documented in the proto
        self, request: generation_pb2.GenerateRequest, context: Context
    ) -> generation_pb2.GenerateResponse:
        self._note_trace(context)
        return await self._door.answer(request, _budget_s(context))

    @status.streaming
    async def GenerateStream(  # noqa: D102 - documented in the proto
        self, request: generation_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[generation_pb2.GenerateEvent]:
        self._note_trace(context)
        async with contextlib.aclosing(self._door.events(request, _budget_s(context))) as events:
            async for event in events:
                yield event

    async def GenerateMany(  # type: ignore[override]  # grpc takes coroutines that write, too
        self,
        request_iterator: AsyncIterator[generation_pb2.GenerateManyRequest],
        context: Context,
    ) -> None:
        """Answer every call of an open stream; see the protocol."""
        calls = ManyCalls(self._door, lambda: _budget_s(context))
        await answer_many(context, calls.answer, join, split)

    @status.unary
    async def GetQuery(  # noqa: D102 - documented in the proto
        self, request: generation_pb2.GetQueryRequest, context: Context
    ) -> generation_pb2.QueryRecord:
        return self._door.record(request.query_id)

    def _note_trace(self, context: Context) -> None:
        if self._is_traced:
            incoming.set(traceparent_of(context.invocation_metadata()))


def _budget_s(context: Context) -> float:
    """Return the seconds that the call's own deadline leaves."""
    left_s = context.time_remaining()
    return math.inf if left_s is None else left_s
