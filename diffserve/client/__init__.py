"""Draw images from your own program: a typed client for Python, blocking or asyncio.

::

    from diffserve.client import Client

    with Client() as client:
        image = client.generate("flat style, an owl, sky blue background")
        image.save("owl.png")

``AsyncClient`` has the same methods as coroutines. Errors are those of ``diffserve.errors``.
"""

from diffserve.client.asynchronous import AsyncClient
from diffserve.client.retries import Retries
from diffserve.client.synchronous import Client
from diffserve.client.values import (
    Deferred,
    Done,
    Event,
    GeneratedImage,
    Progress,
    Queued,
    Started,
    Wish,
)

__all__ = [
    "AsyncClient",
    "Client",
    "Deferred",
    "Done",
    "Event",
    "GeneratedImage",
    "Progress",
    "Queued",
    "Retries",
    "Started",
    "Wish",
]
