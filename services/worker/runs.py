"""One accepted batch and what came of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from dataclasses import dataclass, field

from services.worker.backends.base import Picture
from services.worker.batch import BatchSpec
from services.worker.tracing import RunTrace


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


PROGRESS_PERIOD_S = 0.1
"""Steps that follow sooner on a reported one are not reported, but for the last."""


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
        trace: Of its queries, where they are traced.
        steps: Newest denoising step reported, and how many there are.
        stirred: Set when ``steps`` or ``released`` changed; cleared by the reader.
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
    trace: RunTrace | None = None
    steps: tuple[int, int] | None = None
    stirred: asyncio.Event = field(default_factory=asyncio.Event)

    def stepped(self, step: int, num_steps: int) -> None:
        """Note that a denoising step is done; on the event loop."""
        self.steps = step, num_steps
        self.stirred.set()

    def left(self) -> None:
        """Note that the device is done with it, or never began."""
        self.started.set()
        self.released.set()
        self.stirred.set()


class StepReporter:
    """Tells a run's event loop of denoising steps, from the device thread."""

    def __init__(self, run: BatchRun, loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._loop = loop
        self._next_s = 0.0

    def __call__(self, step: int, num_steps: int) -> None:
        """Report a step, unless one was reported just before."""
        now_s = time.monotonic()
        if now_s < self._next_s and step < num_steps:
            return
        self._next_s = now_s + PROGRESS_PERIOD_S
        self._loop.call_soon_threadsafe(self._run.stepped, step, num_steps)
