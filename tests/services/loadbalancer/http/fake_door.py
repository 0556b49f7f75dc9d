"""A door that answers by a script, behind a real HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx

from diffserve.activation import CatalogInForce
from diffserve.catalog import load_catalog
from diffserve.errors import DiffServeError
from diffserve.rpc.v1 import common_pb2, generation_pb2
from services.loadbalancer.http.app import make_app
from services.loadbalancer.http.server import HttpServer

LIGHT = common_pb2.Image(data=b"light", media_type="image/png", width=64, height=64)
TIMES = common_pb2.StageTimes(
    light_queue_s=0.25, light_execution_s=0.5, scoring_s=0.125, heavy_execution_s=1.0, total_s=2.0
)
HEAVY = common_pb2.Image(data=b"heavy", media_type="image/png", width=64, height=64)


class FakeDoor:
    """Stands in for ``Door``; remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[generation_pb2.GenerateRequest] = []
        self.failure: DiffServeError | None = None
        self.refusal: DiffServeError | None = None
        self.hangs = False
        self.wait_s = 0.0
        self.num_left = 0

    async def answer(
        self, request: generation_pb2.GenerateRequest, budget_s: float = math.inf
    ) -> generation_pb2.GenerateResponse:
        self.requests.append(request)
        await self._meet_fate()
        answer = _answer(request)
        answer.others.extend(_answer(request) for _ in range(1, request.n))
        return answer

    async def events(
        self, request: generation_pb2.GenerateRequest, budget_s: float = math.inf
    ) -> AsyncGenerator[generation_pb2.GenerateEvent, None]:
        self.requests.append(request)
        if self.refusal is not None:
            raise self.refusal
        queued = generation_pb2.QueuedEvent(variant_id="light", predicted_wait_s=self.wait_s)
        yield generation_pb2.GenerateEvent(queued=queued)
        preview = generation_pb2.PreviewEvent(image=LIGHT, reason="unsure")
        yield generation_pb2.GenerateEvent(preview=preview)
        await self._meet_fate()
        yield generation_pb2.GenerateEvent(done=_answer(request))

    async def _meet_fate(self) -> None:
        if self.failure is not None:
            raise self.failure
        if self.hangs:
            try:
                await asyncio.sleep(60.0)
            finally:
                self.num_left += 1


async def _status() -> dict[str, Any]:
    return {"workers": [], "cascades": [], "version": "1"}


def _answer(request: generation_pb2.GenerateRequest) -> generation_pb2.GenerateResponse:
    return generation_pb2.GenerateResponse(
        query_id=request.query_id or "q",
        image=HEAVY,
        outcome=common_pb2.OUTCOME_HEAVY,
        variant_id="mock-heavy",
        cascade_id="mock",
        confidence=0.25,
        percentile=0.5,
        seed=request.parameters.seed,
        reason="because",
        times=TIMES,
    )


@contextlib.asynccontextmanager
async def serving(door: FakeDoor, *, is_ready: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """Serve the application with a door; yield a client of it."""
    app = make_app(door, CatalogInForce(load_catalog("mock")), lambda: is_ready, _status)  # type: ignore[arg-type]
    server = HttpServer(app, "127.0.0.1", 0)
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
            yield client
    finally:
        await server.stop()
