"""The blocking client: the same answers without asyncio in sight."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffserve.client import Client, Deferred, Done
from diffserve.errors import InputError
from tests.unit.client.server import Server, running


@pytest.fixture
def address() -> Iterator[str]:
    """A server on an event loop in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = running(Server(InputError("parameters.prompt", "must not be empty")))
    yield asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(5.0)
    asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(5.0)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_errors_answers_and_streams(address: str, tmp_path: Path) -> None:
    with Client(address) as client:
        with pytest.raises(InputError, match=r"parameters\.prompt"):
            client.generate("")
        image = client.generate("an owl")
        assert image.save(tmp_path / "new" / "owl.png").read_bytes() == b"image"
        kinds = [type(event) for event in client.stream("an owl")]
        assert kinds[-2:] == [Deferred, Done]
        for event in client.stream("an owl"):
            assert event
            break  # leaving early must not hang
        assert client.get_query("done").reason == "because"
    client.close()  # a second time does nothing
