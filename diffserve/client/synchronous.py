"""The blocking face of the asyncio client: the same calls from any thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator
from types import TracebackType
from typing import Any, TypeVar

from diffserve.client.asynchronous import AsyncClient
from diffserve.client.retries import Retries
from diffserve.client.values import DEFAULT_ADDRESS, Event, GeneratedImage, QueryRecord, Wish

ResultT = TypeVar("ResultT")


class Client:
    """Draws images; use it with ``with``. Safe to share between threads.

    An ``AsyncClient`` runs on an event loop in a thread of its own, so both faces have one
    implementation.
    """

    def __init__(self, address: str = DEFAULT_ADDRESS, *, retries: Retries | None = None) -> None:
        """Make a client; arguments as for ``AsyncClient``."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="diffserve-client", daemon=True
        )
        self._thread.start()
        self._client = self._run(_opened(address, retries))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and end the thread; may be called again."""
        if self._loop.is_closed():
            return
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def generate(self, prompt: str | Wish, /, **wishes: Any) -> GeneratedImage:
        """Draw one image; see ``AsyncClient.generate``."""
        return self._run(self._client.generate(prompt, **wishes))

    def generate_all(self, prompt: str | Wish, /, **wishes: Any) -> tuple[GeneratedImage, ...]:
        """Draw ``n`` images; see ``AsyncClient.generate_all``."""
        return self._run(self._client.generate_all(prompt, **wishes))

    def stream(self, prompt: str | Wish, /, **wishes: Any) -> Iterator[Event]:
        """Draw one image and yield what happens on the way; see ``AsyncClient.stream``.

        Leaving the iterator early stops the work for it on the server.
        """
        events = self._client.stream(prompt, **wishes)
        try:
            while (event := self._run(_next(events))) is not None:
                yield event
        finally:
            self._run(events.aclose())

    def get_query(self, query_id: str) -> QueryRecord:
        """Return where a query stands; see ``AsyncClient.get_query``."""
        return self._run(self._client.get_query(query_id))

    def _run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # the caller was interrupted: the server need not go on
            raise


async def _opened(address: str, retries: Retries | None) -> AsyncClient:
    """Make the client on its loop, which its channel belongs to."""
    return AsyncClient(address, retries=retries)


async def _next(events: AsyncGenerator[Event, None]) -> Event | None:
    return await anext(events, None)
