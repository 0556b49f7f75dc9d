"""The one thread that scores, and who waits for it."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from diffserve.catalog import Catalog
from diffserve.core import Population
from diffserve.errors import BackendError, OverloadedError
from diffserve.scoring.base import Scorer
from diffserve.scoring.loading import load_scorers
from diffserve.scoring.profiles import deferral_profiles

NUM_WAITING_MAX = 64
"""Requests waiting for the thread; beyond that the callers' budgets are gone anyway."""
HANDOVER_S = 0.00015
"""What handing over to the thread and back takes. A scorer that was faster is asked on the spot."""
WARM_UP_SIDE_MAX = 256
HUNG_S = 30.0
"""A request that takes longer does not come back by itself; the slowest take a few seconds."""

_Timed = tuple[list[float], float]
"""Confidences, and the seconds they took."""


class ScoringThread:
    """The scoring models of a catalog; lives on the event loop."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._scorers: Mapping[Population, Scorer] = {}
        self._newest_s: dict[Population, float] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scorer")
        self._began_s: float | None = None
        self._num_waiting = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self, device: str, num_threads: int) -> None:
        """Load every discriminator and score one blank image with each.

        Args:
            device: Where the models run; ``auto`` finds out.
            num_threads: CPU threads.

        Raises:
            ConfigError: one cannot be loaded.
            BackendError: one does not score.
        """
        loop = asyncio.get_running_loop()
        discriminators = tuple(self._catalog.discriminators.values())
        load = functools.partial(
            load_scorers, discriminators, deferral_profiles(self._catalog), device, num_threads
        )
        self._scorers = await loop.run_in_executor(self._thread, load)
        for population in self._scorers:
            blank = self._blank(population.discriminator)
            await self.confidences(population, blank, ["warm-up"])

    @property
    def is_busy(self) -> bool:
        """Whether anybody waits for scores."""
        return self._num_waiting > 0

    @property
    def is_hung(self) -> bool:
        """Whether a model has not come back from a request for long; nothing is scored then."""
        began_s = self._began_s  # of another thread, which may set it any time
        return began_s is not None and time.monotonic() - began_s > HUNG_S

    async def confidences(
        self,
        population: Population,
        images: NDArray[np.uint8],
        prompts: Sequence[str],
        limit_s: float | None = None,
    ) -> list[float]:
        """Return how confident a discriminator is of images, each in [0, 1].

        Args:
            population: A discriminator of the catalog, and who drew the images.
            images: (batch, height, width, 3).
            prompts: One per image.
            limit_s: Nobody waits for longer; None: somebody does.

        Raises:
            OverloadedError: too many requests wait.
            BackendError: the model failed.
            TimeoutError: it took longer than ``limit_s``.
        """
        if self._num_waiting >= NUM_WAITING_MAX:
            raise OverloadedError("too many waiting", predicted_wait_s=1.0, retry_after_s=1.0)
        whatever_drew = Population(population.discriminator, "")
        scorer = self._scorers.get(population, self._scorers[whatever_drew])
        work = functools.partial(_timed_scores, scorer, images, prompts)
        if not self.is_busy and self._newest_s.get(population, HANDOVER_S) < HANDOVER_S:
            values, self._newest_s[population] = work()
            return values
        self._num_waiting += 1
        self._idle.clear()
        try:
            # Cancelled with the call: a caller that gave up takes no time of the thread.
            async with asyncio.timeout(limit_s):
                loop = asyncio.get_running_loop()
                values, seconds = await loop.run_in_executor(self._thread, self._watched, work)
        finally:
            self._num_waiting -= 1
            if not self._num_waiting:
                self._idle.set()
        self._newest_s[population] = seconds
        return values

    def _watched(self, work: Callable[[], _Timed]) -> _Timed:
        self._began_s = time.monotonic()
        try:
            return work()
        finally:
            self._began_s = None

    async def wait_until_idle(self) -> None:
        """Return when nobody waits for scores."""
        await self._idle.wait()

    def close(self) -> None:
        """Release the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _blank(self, name: str) -> NDArray[np.uint8]:
        """Return an image of the size that this discriminator will see most."""
        cascades = [c for c in self._catalog.cascades.values() if c.discriminator == name]
        light = self._catalog.variants[cascades[0].light] if cascades else None
        height, width = (light.height, light.width) if light else (64, 64)
        shrink = min(1.0, WARM_UP_SIDE_MAX / max(height, width))
        return np.zeros((1, round(height * shrink), round(width * shrink), 3), np.uint8)


def _timed_scores(scorer: Scorer, images: NDArray[np.uint8], prompts: Sequence[str]) -> _Timed:
    """Return confidences and the seconds they took; every way of failing becomes one error."""
    started_s = time.monotonic()
    try:
        confidences = np.asarray(scorer.score(images, list(prompts)), dtype=np.float64)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise BackendError(f"scoring failed: {type(error).__name__}: {text}") from None
    if confidences.shape != (len(prompts),) or not np.isfinite(confidences).all():
        raise BackendError(f"scoring gave shape {confidences.shape} or values that are no numbers")
    return [float(value) for value in confidences.clip(0.0, 1.0)], time.monotonic() - started_s
