"""Scores images, ranks them, and keeps what confidences tell over time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffserve.catalog import Catalog
from diffserve.core import Population
from diffserve.errors import OverloadedError
from diffserve.profiles.drift import NUM_FRESH
from diffserve.rpc.v1 import common_pb2
from diffserve.scoring.populations import Populations, Score
from diffserve.scoring.thread import ScoringThread
from services.discriminator.calibration import Learnt
from services.discriminator.metrics import DiscriminatorMetrics


class Scoring:
    """The scoring models and their sketches; sketches belong to the event loop.

    Attributes:
        populations: Recent confidences.
        learnt: What follows from confidences over time.
        metrics: What was scored.
        thread: Scores.
    """

    def __init__(self, catalog: Catalog, sketch_size: int) -> None:
        self.populations = Populations(catalog, sketch_size)
        self.learnt = Learnt(catalog)
        self.metrics = DiscriminatorMetrics(self.learnt)
        self.thread = ScoringThread(catalog)

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
        confidences = await self.thread.confidences(population, images, prompts)
        seconds = time.monotonic() - started_s
        name, num_images = population.discriminator, len(confidences)
        self.metrics.scored(name, num_images, [seconds], is_heavy=exclude_from_sketch)
        scores = self.populations.ranked(population, confidences)
        if not exclude_from_sketch:
            self.join(population, confidences)
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
        if self.thread.is_busy:
            raise OverloadedError("light images first", predicted_wait_s=1.0, retry_after_s=1.0)
        population = Population(name, "")
        scores = await self.score(population, images, prompts, exclude_from_sketch=True)
        for score, image in zip(scores, light, strict=True):
            self.learnt.pair(image, score.confidence)
        return scores

    def join(self, population: Population, confidences: Sequence[float]) -> None:
        """Take confidences of light images, oldest first, into their sketch, if it admits them."""
        if not self.populations.admit(population):
            return
        sketch = self.populations.sketch(population)
        for value in confidences:
            sketch.add(value)
            self.metrics.joined(population, value)
            if self.learnt.observe(population, value):
                sketch.forget(NUM_FRESH)

    def add_cascades(self, catalog: Catalog) -> None:
        """Take up the cascades that a catalog has more than the one of the start.

        Their discriminators are loaded already: cascades of others are never activated.
        """
        self.populations.add_cascades(catalog)
        self.learnt.add_cascades(catalog)
