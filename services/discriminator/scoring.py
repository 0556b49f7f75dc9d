"""Scores on one thread, and ranks every confidence among the recent ones of its population."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffserve.catalog import Catalog
from diffserve.core import Population
from diffserve.errors import BackendError, OverloadedError
from diffserve.profiles.drift import NUM_FRESH
from diffserve.rpc.v1 import common_pb2
from services.discriminator.backends import load_scorers
from services.discriminator.backends.base import Scorer
from services.discriminator.calibration import Learnt
from services.discriminator.metrics import DiscriminatorMetrics
from services.discriminator.populations import Populations
from services.discriminator.profiles import deferral_profiles

NUM_WAITING_MAX = 64
"""Requests waiting for the thread; beyond that the callers' budgets are gone anyway."""

WARM_UP_SIDE_MAX = 256


@dataclass(frozen=True, slots=True)
class Score:
    """A confidence and the share of its population's recent ones below it, each in [0, 1]."""

    confidence: float
    percentile: float


class Scoring:
    """The scoring models and their sketches; sketches belong to the event loop.

    Attributes:
        populations: Recent confidences.
        learnt: What follows from confidences over time.
        metrics: What was scored.
    """

    def __init__(self, catalog: Catalog, sketch_size: int) -> None:
        self.populations = Populations(catalog, sketch_size)
        self.learnt = Learnt(catalog)
        self.metrics = DiscriminatorMetrics(self.learnt)
        self._catalog = catalog
        self._scorers: Mapping[Population, Scorer] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scorer")
        self._num_waiting = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self, device: str, num_threads: int) -> None:
        """Load every discriminator and score one blank image with each.

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
            await self._confidences(population, blank, ["warm-up"])

    async def score(
        self,
        population: Population,
        images: NDArray[np.uint8],
        prompts: Sequence[str],
        *,
        exclude_from_sketch: bool = False,
    ) -> list[Score]:
        """Return one score per image; each is ranked before it joins the sketch.

        Args:
            population: A discriminator of the catalog, and who drew the images.
            images: (batch, height, width, 3).
            prompts: One per image.
            exclude_from_sketch: Leave the sketches as they are.

        Raises:
            OverloadedError: too many requests wait.
            BackendError: the model failed.
        """
        started_s = time.monotonic()
        confidences = await self._confidences(population, images, prompts)
        seconds = time.monotonic() - started_s
        name, num_images = population.discriminator, len(confidences)
        self.metrics.scored(name, num_images, seconds, is_heavy=exclude_from_sketch)
        joins = not exclude_from_sketch and self.populations.admit(population)
        sketch = self.populations.sketch(population)
        scores = [Score(value, sketch.percentile(value)) for value in confidences]
        if joins:
            for value in confidences:
                sketch.add(value)
                self.metrics.joined(population, value)
                if self.learnt.observe(population, value):
                    sketch.forget(NUM_FRESH)
        return scores

    async def score_heavy(
        self,
        name: str,
        images: NDArray[np.uint8],
        prompts: Sequence[str],
        light: Sequence[common_pb2.LightScore],
    ) -> list[Score]:
        """Return the scores of heavy images, and learn what they add to the light ones.

        Args:
            name: A discriminator of the catalog.
            images: (batch, height, width, 3).
            prompts: One per image.
            light: What was said of the light image of each.

        Raises:
            OverloadedError: anything else waits: nobody waits for these.
            BackendError: the model failed.
        """
        if self._num_waiting:
            raise OverloadedError("light images first", predicted_wait_s=1.0, retry_after_s=1.0)
        population = Population(name, "")
        scores = await self.score(population, images, prompts, exclude_from_sketch=True)
        for score, image in zip(scores, light, strict=True):
            self.learnt.pair(image, score.confidence)
        return scores

    def add_cascades(self, catalog: Catalog) -> None:
        """Take up the cascades that a catalog has more than the one of the start.

        Their discriminators are loaded already: cascades of others are never activated.
        """
        self.populations.add_cascades(catalog)
        self.learnt.add_cascades(catalog)

    async def wait_until_idle(self) -> None:
        """Return when no request waits for the thread."""
        await self._idle.wait()

    def close(self) -> None:
        """Release the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _confidences(
        self, population: Population, images: NDArray[np.uint8], prompts: Sequence[str]
    ) -> list[float]:
        if self._num_waiting >= NUM_WAITING_MAX:
            raise OverloadedError("too many waiting", predicted_wait_s=1.0, retry_after_s=1.0)
        self._num_waiting += 1
        self._idle.clear()
        loop = asyncio.get_running_loop()
        whatever_drew = Population(population.discriminator, "")
        scorer = self._scorers.get(population, self._scorers[whatever_drew])
        try:
            # Cancelled with the call: a caller that gave up takes no time of the thread.
            values = await loop.run_in_executor(
                self._thread, _checked_scores, scorer, images, prompts
            )
        finally:
            self._num_waiting -= 1
            if not self._num_waiting:
                self._idle.set()
        return values

    def _blank(self, name: str) -> NDArray[np.uint8]:
        """Return an image of the size that this discriminator will see most."""
        cascades = [c for c in self._catalog.cascades.values() if c.discriminator == name]
        light = self._catalog.variants[cascades[0].light] if cascades else None
        height, width = (light.height, light.width) if light else (64, 64)
        shrink = min(1.0, WARM_UP_SIDE_MAX / max(height, width))
        return np.zeros((1, round(height * shrink), round(width * shrink), 3), np.uint8)


def _checked_scores(
    scorer: Scorer, images: NDArray[np.uint8], prompts: Sequence[str]
) -> list[float]:
    """Score on the scorer's thread; every way of failing becomes one error."""
    try:
        confidences = np.asarray(scorer.score(images, list(prompts)), dtype=np.float64)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise BackendError(f"scoring failed: {type(error).__name__}: {text}") from None
    if confidences.shape != (len(prompts),) or not np.isfinite(confidences).all():
        raise BackendError(f"scoring gave shape {confidences.shape} or values that are no numbers")
    return [float(value) for value in confidences.clip(0.0, 1.0)]
