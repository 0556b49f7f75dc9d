"""``/v1/images/generations``: OpenAI's API, and the image itself where that is accepted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from diffserve.errors import DiffServeError, InputError, NotFoundError
from diffserve.rpc.v1 import generation_pb2
from services.loadbalancer.door import Door
from services.loadbalancer.http import translation
from services.loadbalancer.http.errors import to_response
from services.loadbalancer.http.files import ImageStore
from services.loadbalancer.http.schema import ErrorAnswer, ImageRequest, ImagesResponse

ResultT = TypeVar("ResultT")
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in (
        (400, "A parameter is wrong or not supported; `param` names it."),
        (404, "There is no such `model`."),
        (409, "The idempotency key was used for something else."),
        (413, "The body is too large."),
        (429, "Refused: it could not be answered in time. `Retry-After` says when it may be."),
        (500, "A variant failed."),
        (503, "Draining or not ready."),
        (504, "No image in time."),
    )
}
GONE_STATUS = 499
"""Nobody is there to read it; logs show it."""
_EVENT = "image_generation"


def routes(door: Door, store: ImageStore) -> APIRouter:
    """Return the routes that draw and fetch images."""
    router = APIRouter(tags=["images"])

    @router.post(
        "/v1/images/generations",
        response_model=ImagesResponse,
        responses={
            **ERRORS,
            200: {
                "description": "The images; with `Accept: image/*` the one image itself; with "
                "`stream` server-sent events.",
                "content": {"image/*": {}, "text/event-stream": {}},
            },
        },
    )
    async def generate(
        body: ImageRequest,
        request: Request,
        accept: Annotated[str, Header()] = "",
        idempotency_key: Annotated[str, Header(max_length=255)] = "",
    ) -> Response:
        """Draw images."""
        wanted = translation.request_of(body, idempotency_key)
        if body.stream:
            return await _streamed(door, body, wanted)
        is_raw = accept.strip().startswith("image/")
        if is_raw and wanted.n > 1:
            raise InputError("n", "only one image can be sent as it is; accept application/json")
        answer = await _unless_gone(request, door.answer(wanted))
        if answer is None:
            return Response(status_code=GONE_STATUS)
        if is_raw:
            return _raw(answer)
        answers = [answer, *answer.others]
        urls = [""] * len(answers)
        if body.response_format == "url":
            urls = [_url(request, store, answer) for answer in answers]
        content = translation.answer_of(answers, urls, int(time.time()))
        return JSONResponse(content.model_dump())

    @router.get("/v1/images/files/{name}", responses={404: {"model": ErrorAnswer}})
    async def fetch(name: str) -> Response:
        """Return an image that was asked for by `url`."""
        image = store.get(name)
        if image is None:
            raise NotFoundError("this image is not kept (any more)")
        return Response(image.data, media_type=image.media_type)

    return router


async def _unless_gone(request: Request, work: Coroutine[Any, Any, ResultT]) -> ResultT | None:
    """Return the result; None, and the work cancelled, when the client leaves before."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for pending in (task, gone):
            pending.cancel()
        with contextlib.suppress(asyncio.CancelledError, DiffServeError):
            await task


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _raw(answer: generation_pb2.GenerateResponse) -> Response:
    story = translation.story_of(answer)
    headers = {
        "X-DiffServe-Query": story.query_id,
        "X-DiffServe-Variant": story.variant,
        "X-DiffServe-Outcome": story.outcome,
        "X-DiffServe-Seed": str(story.seed),
    }
    return Response(answer.image.data, media_type=answer.image.media_type, headers=headers)


def _url(request: Request, store: ImageStore, answer: generation_pb2.GenerateResponse) -> str:
    name = store.put(answer.image.data, answer.image.media_type)
    return str(request.url_for("fetch", name=name))


async def _streamed(
    door: Door, body: ImageRequest, wanted: generation_pb2.GenerateRequest
) -> Response:
    """Start to answer with events; what fails before the first one is an ordinary error."""
    if wanted.n > 1:
        raise InputError("n", "only one image can be streamed")
    if body.response_format == "url":
        raise InputError("response_format", "streamed images come as b64_json")
    events = door.events(wanted)
    try:
        first = await anext(events)
    except DiffServeError as error:
        return to_response(error)
    chunks = _chunks(first, events, has_previews=bool(body.partial_images))
    return StreamingResponse(chunks, media_type="text/event-stream")


async def _chunks(
    first: generation_pb2.GenerateEvent,
    events: AsyncIterator[generation_pb2.GenerateEvent],
    *,
    has_previews: bool,
) -> AsyncIterator[str]:
    """Yield server-sent events; closing this closes the query's events: the client left."""
    async with contextlib.aclosing(events):  # type: ignore[type-var]  # it is a generator
        try:
            event: generation_pb2.GenerateEvent | None = first
            while event is not None:
                text = _server_sent(event, has_previews=has_previews)
                if text:
                    yield text
                event = await anext(events, None)
        except DiffServeError as error:
            content = json.loads(bytes(to_response(error).body))
            yield f"event: error\ndata: {json.dumps(content)}\n\n"


def _server_sent(event: generation_pb2.GenerateEvent, *, has_previews: bool) -> str:
    """Return an event as text; empty when the client does not want to hear of it."""
    kind = event.WhichOneof("event")
    if kind == "preview" and has_previews:
        image = event.preview.image
        extra = {"partial_image_index": 0, "reason": event.preview.reason}
        return _sse(f"{_EVENT}.partial_image", image, "low", extra)
    if kind == "done":
        answer = event.done
        extra = {"usage": _NO_TOKENS, "diffserve": translation.story_of(answer).model_dump()}
        quality = translation.quality_of([answer])
        return _sse(f"{_EVENT}.completed", answer.image, quality, extra)
    return ""


_NO_TOKENS = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}
"""Nothing here is counted in tokens; the clients' types want the field."""


def _sse(kind: str, image: Any, quality: str, extra: dict[str, Any]) -> str:
    content = {
        "type": kind,
        "b64_json": translation.base64_of(image.data),
        "created_at": int(time.time()),
        "background": "opaque",
        "output_format": translation.format_of(image.media_type),
        "quality": quality,
        "size": f"{image.width}x{image.height}",
        **extra,
    }
    return f"event: {kind}\ndata: {json.dumps(content)}\n\n"
