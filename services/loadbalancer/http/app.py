"""Puts the HTTP application together."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

import diffserve
from diffserve.activation import CatalogInForce
from diffserve.errors import InputError
from diffserve.observability.instruments import CONTENT_TYPE
from diffserve.observability.propagation import TRACEPARENT, incoming
from services.loadbalancer.door import Door
from services.loadbalancer.http import console, errors, images
from services.loadbalancer.http.console import StatusSource
from services.loadbalancer.http.files import ImageStore
from services.loadbalancer.http.schema import ErrorAnswer, Model, Models
from services.loadbalancer.validation import unknown_cascade

BODY_BYTES_MAX = 256 * 1024
FILES_BYTES_MAX = 256 * 1024 * 1024
FILES_LIFETIME_S = 900.0
DESCRIPTION = """
Images by light and heavy diffusion models, the heavy one only where it is worth it.
`POST /v1/images/generations` is OpenAI's; errors name the parameter at fault.
"""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def make_app(
    door: Door, catalog: CatalogInForce, is_ready: Callable[[], bool], status: StatusSource
) -> FastAPI:
    """Return the application.

    Args:
        door: Where requests go.
        catalog: What can be asked for.
        is_ready: Whether queries would be taken now.
        status: What the page shows of the deployment.
    """
    app = FastAPI(
        title="DiffServe",
        version=diffserve.__version__,
        description=DESCRIPTION,
        # The framework's interactive pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        # Without it the framework documents errors of its own form, which never happen.
        responses={"default": {"model": ErrorAnswer, "description": "Any other error."}},
    )
    errors.install(app)
    app.include_router(
        images.routes(door, ImageStore(FILES_BYTES_MAX, FILES_LIFETIME_S, time.monotonic))
    )
    app.include_router(console.routes(door, catalog, status))
    app.mount("/static", console.static_files())
    _add_models(app, catalog)
    _add_probes(app, is_ready)
    app.add_middleware(BodyLimit, bytes_max=BODY_BYTES_MAX)
    app.add_middleware(Head)
    return app


def _add_models(app: FastAPI, catalog: CatalogInForce) -> None:
    @app.get("/v1/models", tags=["models"])
    async def models() -> Models:
        """List cascades and request classes, which `model` may name."""
        return Models(data=[Model(id=name) for name in catalog.names])

    @app.get("/v1/models/{name}", tags=["models"], responses={404: {"model": ErrorAnswer}})
    async def model(name: str) -> Model:
        """Return one of them."""
        if name not in catalog.names:
            raise unknown_cascade(name, catalog.current)
        return Model(id=name)


def _add_probes(app: FastAPI, is_ready: Callable[[], bool]) -> None:
    @app.get("/healthz", tags=["probes"])
    async def healthz() -> dict[str, str]:
        """Answer while the process lives."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["probes"], responses={503: {"description": "Not ready."}})
    async def readyz() -> JSONResponse:
        """Tell whether queries would be taken now."""
        if is_ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, status_code=503)


def add_metrics(app: FastAPI, exposition: Callable[[], bytes]) -> None:
    """Serve what ``exposition`` returns as ``/metrics``."""

    @app.get(
        "/metrics",
        tags=["probes"],
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}},
    )
    async def metrics() -> Response:
        """Return the metrics in Prometheus's text format."""
        return Response(exposition(), media_type=CONTENT_TYPE)


class TraceParent:
    """Lets queries go on with the trace of the request that asks for them."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = dict(scope.get("headers", ()))
        incoming.set(headers.get(TRACEPARENT.encode(), b"").decode("latin-1"))
        await self._app(scope, receive, send)


class Head:
    """Answers HEAD wherever there is GET, in its words; the server leaves the body out."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        # A copy: the server looks at its own one.
        is_head = scope.get("method") == "HEAD"
        await self._app({**scope, "method": "GET"} if is_head else scope, receive, send)


class BodyLimit:
    """Refuses bodies that are too large before they are read, or while they come."""

    def __init__(self, app: Callable[..., Awaitable[None]], bytes_max: int) -> None:
        self._app = app
        self._bytes_max = bytes_max

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        num_bytes = 0

        async def limited() -> Message:
            nonlocal num_bytes
            message = await receive()
            num_bytes += len(message.get("body", b""))
            # The framework takes a client that left for the end of the request.
            return message if num_bytes <= self._bytes_max else {"type": "http.disconnect"}

        async def judged(message: Message) -> None:
            if num_bytes <= self._bytes_max:
                await send(message)

        with contextlib.suppress(ClientDisconnect):
            await self._app(scope, limited, judged)
        if num_bytes > self._bytes_max:
            error = InputError("body", f"must be at most {self._bytes_max} bytes")
            response = errors.to_response(error)
            response.status_code = 413
            await response(scope, receive, send)
