"""Runs the HTTP application on the load balancer's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from diffserve.errors import ConfigError

KEEP_ALIVE_S = 75


class HttpServer:
    """One listening socket and the server behind it."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        """Bind at once, so that a port that is taken stops the start-up.

        Raises:
            ConfigError: the port is taken or not allowed.
        """
        self._socket = _bound(host, port)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_keep_alive=KEEP_ALIVE_S,
            server_header=False,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve; returns once connections are accepted."""
        self._task = asyncio.create_task(self._server.serve([self._socket]))
        await asyncio.wait(
            {self._task, asyncio.ensure_future(self._server.accepting.wait())},
            return_when=asyncio.FIRST_COMPLETED,
        )

    async def stop(self) -> None:
        """Close the port and wait for answers in progress."""
        if self._task is None:
            self._socket.close()
            return
        self._server.should_exit = True
        await self._task


class _Server(uvicorn.Server):
    """Leaves signals to the process, which drains before it stops its servers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell."""
        await super().startup(sockets)
        self.accepting.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        text = error.strerror or str(error)
        raise ConfigError(f"http_port: cannot listen on {host}:{port}: {text}") from None
    return listening
