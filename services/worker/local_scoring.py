"""Scores a worker's images in its own process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffserve.catalog import Catalog
from diffserve.core import Population
from diffserve.errors import BackendError, DiffServeError
from diffserve.observability.tracing import Tracing
from diffserve.rpc.v1 import common_pb2, discriminator_pb2
from diffserve.scoring.populations import Populations
from diffserve.scoring.thread import ScoringThread
from diffserve.scoring.tracing import trace_scores
from services.worker.reports import Reports

SKETCH_SIZE = 1024
"""Confidences to rank among, per population, should no answer of the discriminator come."""


class LocalScoring:
    """The discriminator's models without the way to them.

    Confidences come from this process; what they rank among are those of all workers, which the
    discriminator service gathers and hands back (``Reports``).
    """

    def __init__(
        self, catalog: Catalog, address: str, timeout_s: float, tracing: Tracing | None = None
    ) -> None:
        """Put the parts together; ``start`` loads the models.

        Args:
            catalog: Discriminators at hand.
            address: ``host:port`` of the discriminator service.
            timeout_s: No image waits longer for its score.
            tracing: Of this worker; None: nothing is traced.
        """
        self._thread = ScoringThread(catalog)
        self._populations = Populations(catalog, SKETCH_SIZE)
        self._reports = Reports(address, self._populations)
        self._timeout_s = timeout_s
        self._tracing = tracing
        self._reporting: asyncio.Task[None] | None = None

    async def start(self, device: str, num_threads: int) -> None:
        """Load the models and begin to report.

        Raises:
            ConfigError: one cannot be loaded.
            BackendError: one does not score.
        """
        await self._thread.start(device, num_threads)
        self._reporting = asyncio.create_task(self._reports.run())

    async def score(
        self,
        population: Population,
        prompts: Sequence[str],
        images: Sequence[NDArray[np.uint8]],
        budget_s: float,
        parents: Sequence[str] = (),
    ) -> list[discriminator_pb2.ImageScore]:
        """Return one score per image, in order; see ``ImageScoring``.

        Raises:
            BackendError: there is none within the budget; says why.
        """
        started_s = time.monotonic()
        confidences = await self._confidences(population, prompts, images, budget_s)
        ended_s = time.monotonic()
        scores = self._populations.ranked(population, confidences)
        # The discriminator's answer will put those of all workers in their place.
        self._populations.join(population, confidences)
        self._reports.light(population, confidences, ended_s - started_s)
        if self._tracing is not None:
            times_s = (started_s, ended_s)
            trace_scores(self._tracing, parents, population.discriminator, scores, times_s)
        return [
            discriminator_pb2.ImageScore(confidence=score.confidence, percentile=score.percentile)
            for score in scores
        ]

    async def pair(
        self, light: common_pb2.LightScore, prompt: str, image: NDArray[np.uint8]
    ) -> None:
        """Score a heavy image beside what was said of the light one.

        Raises:
            BackendError: it was not; says why.
        """
        if self._thread.is_busy:
            raise BackendError("light images first")
        started_s = time.monotonic()
        population = Population(light.discriminator, "")
        (confidence,) = await self._confidences(population, [prompt], [image], self._timeout_s)
        self._reports.heavy(light, confidence, time.monotonic() - started_s)

    async def close(self) -> None:
        """Report what is left and release the thread."""
        if self._reporting is not None:
            self._reporting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reporting
        await self._reports.close()
        self._thread.close()

    async def _confidences(
        self,
        population: Population,
        prompts: Sequence[str],
        images: Sequence[NDArray[np.uint8]],
        budget_s: float,
    ) -> list[float]:
        if budget_s <= 0.0:
            raise BackendError("no time left for scoring")
        limit_s = min(self._timeout_s, budget_s)
        try:
            self._populations.checked(population.discriminator, population.variant_id)
            return await self._thread.confidences(population, np.stack(images), prompts, limit_s)
        except TimeoutError:
            raise BackendError(f"scoring took longer than {limit_s:.3g} s") from None
        except DiffServeError as error:
            raise BackendError(f"scoring: {error}") from None
