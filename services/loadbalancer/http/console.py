"""The web page at ``/`` and the few calls that only it makes."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.staticfiles import StaticFiles

from diffserve.activation import CatalogInForce
from diffserve.errors import DiffServeError
from diffserve.rpc.v1 import common_pb2, generation_pb2
from services.loadbalancer.door import Door
from services.loadbalancer.http import translation
from services.loadbalancer.http.errors import to_response
from services.loadbalancer.http.schema import ImageRequest

STATIC = Path(__file__).parent / "static"
FRESH = {"Cache-Control": "no-cache"}
"""Browsers ask whether a file is still the same: a page and its scripts belong together."""

StatusSource = Callable[[], Awaitable[dict[str, Any]]]
"""Returns the deployment's status as JSON values; raises ``DiffServeError``."""


def static_files() -> StaticFiles:
    """Return the application that serves the page's files."""
    return _FreshFiles(directory=STATIC)


def routes(door: Door, catalog: CatalogInForce, status: StatusSource) -> APIRouter:
    """Return the page and its calls; they are no API, so they are not documented."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page() -> Response:
        return FileResponse(STATIC / "index.html", headers=FRESH)

    @router.get("/api/playground")
    async def playground() -> JSONResponse:
        current = catalog.current
        return JSONResponse(
            {
                "default": current.default_cascade,
                "models": catalog.names,
                "examples": [{"kind": e.kind, "text": e.text} for e in current.examples],
            }
        )

    @router.post("/api/generate")
    async def generate(body: ImageRequest) -> Response:
        events = door.events(translation.request_of(body))
        try:
            first = await anext(events)
        except DiffServeError as error:
            return to_response(error)
        return StreamingResponse(_told(first, events), media_type="text/event-stream")

    @router.get("/api/status")
    async def deployment() -> JSONResponse:
        return JSONResponse(await status())

    return router


class _FreshFiles(StaticFiles):
    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update(FRESH)
        return response


async def _told(
    first: generation_pb2.GenerateEvent,
    events: AsyncGenerator[generation_pb2.GenerateEvent, None],
) -> AsyncIterator[str]:
    """Yield every event; closing this closes the query's events: the browser left."""
    async with contextlib.aclosing(events):
        try:
            event: generation_pb2.GenerateEvent | None = first
            while event is not None:
                yield _text(event.WhichOneof("event") or "", _values(event))
                event = await anext(events, None)
        except DiffServeError as error:
            yield _text("error", json.loads(bytes(to_response(error).body)))


def _text(name: str, values: Any) -> str:
    return f"event: {name}\ndata: {json.dumps(values)}\n\n"


def _values(event: generation_pb2.GenerateEvent) -> dict[str, Any]:
    match event.WhichOneof("event"):
        case "queued":
            queued, wait_s = event.queued, event.queued.predicted_wait_s
            return {
                "variant": queued.variant_id,
                "position": queued.position,
                # Without a worker it is infinite, which JSON cannot spell.
                "predicted_wait_s": wait_s if math.isfinite(wait_s) else None,
            }
        case "started":
            return {"variant": event.started.variant_id, "worker": event.started.worker_id}
        case "progress":
            progress = event.progress
            return {
                "variant": progress.variant_id,
                "step": progress.step,
                "num_steps": progress.num_steps,
            }
        case "preview":
            return {"image": _data_url(event.preview.image), "reason": event.preview.reason}
        case "done":
            story = translation.story_of(event.done)
            return {"image": _data_url(event.done.image), "story": story.model_dump()}
        case _:
            return {}


def _data_url(image: common_pb2.Image) -> str:
    return f"data:{image.media_type};base64,{translation.base64_of(image.data)}"
