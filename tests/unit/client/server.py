"""A load balancer of few words: answers calls by a script and remembers them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from diffserve.errors import DiffServeError
from diffserve.rpc import status
from diffserve.rpc.streams import Outbox, answer_many, join, split
from diffserve.rpc.v1 import common_pb2, generation_pb2, generation_pb2_grpc

ANSWER = generation_pb2.GenerateResponse(
    query_id="q",
    image=common_pb2.Image(data=b"image", media_type="image/png", width=8, height=16),
    outcome=common_pb2.OUTCOME_HEAVY,
    variant_id="heavy",
    cascade_id="c",
    confidence=0.25,
    percentile=0.5,
    seed=7,
    times=common_pb2.StageTimes(light_execution_s=0.25, total_s=1.5),
    reason="because",
    unknown_words=["zebu"],
)
RECORDS = {
    "waits": generation_pb2.QueryRecord(
        query_id="waits", phase="light_queue", cascade_id="c", age_s=0.5
    ),
    "done": generation_pb2.QueryRecord(
        query_id="done",
        outcome=common_pb2.OUTCOME_LIGHT,
        phase="done",
        cascade_id="c",
        confidence=0.25,
        percentile=0.5,
        age_s=9.0,
        times=common_pb2.StageTimes(light_execution_s=0.25, total_s=1.5),
        reason="because",
        steps=[
            generation_pb2.QueryStep(
                name="light_batch", at_s=0.5, variant_id="v", worker_id="w", batch_size=2, plan_id=3
            )
        ],
    ),
}
PREVIEW = generation_pb2.GenerateEvent(
    preview=generation_pb2.PreviewEvent(
        image=common_pb2.Image(data=b"light", media_type="image/png"), reason="unsure"
    )
)


class Server(generation_pb2_grpc.ImageGenerationServicer):
    """Fails as often as there are failures, then answers; or hangs, streams after the preview."""

    def __init__(self, *failures: DiffServeError, hangs: bool = False) -> None:
        self.failures = list(failures)
        self.requests: list[generation_pb2.GenerateRequest] = []
        self.streams: list[Any] = []
        self.left: list[int] = []
        self.was_asked = asyncio.Event()
        self.was_cancelled = asyncio.Event()
        self._hangs = hangs

    async def GenerateMany(self, request_iterator: Any, context: Any) -> None:
        self.streams.append(context)
        await answer_many(context, self._answer, join, split)

    async def _answer(
        self,
        request: generation_pb2.GenerateManyRequest,
        outbox: Outbox[generation_pb2.GenerateManyResponse],
    ) -> None:
        if request.HasField("leave"):
            self.left.append(request.call_id)
            self.was_cancelled.set()
            return
        self.was_asked.set()
        if self._hangs:
            self.requests.append(request.begin)
            return
        reply = generation_pb2.GenerateManyResponse(call_id=request.call_id)
        try:
            reply.response.CopyFrom(self._generated(request.begin))
        except DiffServeError as error:
            reply.status = status.to_bytes(error)
        outbox.send(reply)

    def _generated(
        self, request: generation_pb2.GenerateRequest
    ) -> generation_pb2.GenerateResponse:
        self.requests.append(request)
        if self.failures:
            raise self.failures.pop(0)
        others = [ANSWER] * (max(1, request.n) - 1)
        answer = generation_pb2.GenerateResponse()
        answer.CopyFrom(ANSWER)
        answer.others.extend(others)
        return answer

    @status.unary
    async def GetQuery(
        self, request: generation_pb2.GetQueryRequest, context: Any
    ) -> generation_pb2.QueryRecord:
        if self.failures:
            raise self.failures.pop(0)
        return RECORDS[request.query_id]

    @status.streaming
    async def GenerateStream(
        self, request: generation_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[generation_pb2.GenerateEvent]:
        self.requests.append(request)
        if self.failures:
            raise self.failures.pop(0)
        yield generation_pb2.GenerateEvent(
            queued=generation_pb2.QueuedEvent(variant_id="light", position=2, predicted_wait_s=0.5)
        )
        yield generation_pb2.GenerateEvent(
            started=generation_pb2.StartedEvent(variant_id="light", worker_id="w", batch_size=3)
        )
        yield PREVIEW
        if self._hangs:
            try:
                await asyncio.sleep(60.0)
            finally:
                self.was_cancelled.set()
        for index in reversed(range(max(1, request.n))):
            yield generation_pb2.GenerateEvent(done=ANSWER, index=index)


@contextlib.asynccontextmanager
async def running(servicer: Server, port: int = 0) -> AsyncIterator[str]:
    """Serve on a port of loopback, a free one by default; yield the address."""
    server = grpc.aio.server()
    generation_pb2_grpc.add_ImageGenerationServicer_to_server(servicer, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
