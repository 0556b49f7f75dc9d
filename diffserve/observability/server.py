"""Serves ``/metrics`` on a port of its own, on the service's event loop.

The loop owns the state that is read; a thread, as the client library would start, could meet it
half changed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from diffserve.errors import ConfigError
from diffserve.observability.instruments import CONTENT_TYPE

REQUEST_TIMEOUT_S = 5.0


@contextlib.asynccontextmanager
async def metrics_server(
    host: str, port: int, exposition: Callable[[], bytes] | None
) -> AsyncIterator[None]:
    """Serve while the context lasts; not at all where the port is 0 or nothing is there to say.

    Raises:
        ConfigError: the port is taken.
    """
    if not port or exposition is None:
        yield
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(_response(head, exposition))
                await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(answer, host, port)
    except OSError as error:
        text = error.strerror or str(error)
        raise ConfigError(f"metrics_port: cannot listen on {host}:{port}: {text}") from None
    async with server:
        yield


def _response(head: bytes, exposition: Callable[[], bytes]) -> bytes:
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if path != b"/metrics" or method not in (b"GET", b"HEAD"):
        return _message("404 Not Found", "text/plain", b"there is only GET /metrics\n")
    body = exposition()
    message = _message("200 OK", CONTENT_TYPE, body)
    return message if method == b"GET" else message.removesuffix(body)


def _message(status: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
