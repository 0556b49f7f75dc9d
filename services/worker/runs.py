"""One accepted batch and what came of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from dataclasses import dataclass, field

from services.worker.backends.base import Picture
from services.worker.batch import BatchSpec


@dataclass(frozen=True, slots=True)
class Execution:
    """What came off the device.

    Attributes:
        execution_s: Seconds on the device.
        images: One per query; empty when it failed or was stopped.
        unknown_words: Per query, like ``images``.
        error: One sentence when the batch failed, else empty.
    """

    execution_s: float = 0.0
    images: tuple[Picture, ...] = ()
    unknown_words: tuple[tuple[str, ...], ...] = ()
    error: str = ""


@dataclass(slots=True, eq=False)
class BatchRun:
    """One accepted batch, from acceptance to the end of its call.

    Attributes:
        spec: What runs.
        accepted_s: When it was accepted, monotonic.
        started: Set when the device begins, or when it never will.
        released: Set when the device is done with it; ``execution`` is there then.
        started_s: When the device began; None before, and for a batch that never ran.
        execution: What came off the device.
        aborted: Queries nobody waits for any more.
        stop: Set when no query is left; read by the device thread.
        future: Its place in the device's queue.
    """

    spec: BatchSpec
    accepted_s: float
    started: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    started_s: float | None = None
    execution: Execution = field(default_factory=Execution)
    aborted: set[str] = field(default_factory=set)
    stop: threading.Event = field(default_factory=threading.Event)
    future: concurrent.futures.Future[Execution] | None = None
