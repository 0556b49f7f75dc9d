"""Draw images from your own program: a typed client for Python, blocking or asyncio.

::

    from diffserve.client import Client

    with Client() as client:
        image = client.generate("flat style, an owl, sky blue background")
        image.save("owl.png")

``AsyncClient`` has the same methods as coroutines. What they raise is a ``DiffServeError``.
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
    QueryRecord,
    QueryStep,
    Queued,
    Started,
    Wish,
)
from diffserve.core import Outcome, Preference, Priority
from diffserve.errors import (
    AlreadyExistsError,
    BackendError,
    DeadlineError,
    DiffServeError,
    InputError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
)

__all__ = [
    "AlreadyExistsError",
    "AsyncClient",
    "BackendError",
    "Client",
    "DeadlineError",
    "Deferred",
    "DiffServeError",
    "Done",
    "Event",
    "GeneratedImage",
    "InputError",
    "NotFoundError",
    "Outcome",
    "OverloadedError",
    "Preference",
    "Priority",
    "Progress",
    "QueryRecord",
    "QueryStep",
    "Queued",
    "Retries",
    "Started",
    "UnavailableError",
    "Wish",
]
