"""Keeps sketches in Redis, so that a restarted discriminator remembers recent confidences."""

from __future__ import annotations

import asyncio
import logging

from diffserve.core import Population
from diffserve.scoring.populations import Populations
from diffserve.telemetry.store import STORE_ERRORS, TelemetryStore

logger = logging.getLogger(__name__)

SAVE_PERIOD_S = 3.0


class SketchKeeper:
    """Restores sketches once and saves them while they change; does without Redis.

    Those of variants that the catalog lacks are not kept: nobody would know their names.
    """

    def __init__(
        self,
        store: TelemetryStore,
        populations: Populations,
        save_period_s: float = SAVE_PERIOD_S,
    ) -> None:
        self._store = store
        self._populations = populations
        self._save_period_s = save_period_s
        self._saved: dict[Population, tuple[float, ...]] = {}
        self._is_reachable = True

    async def restore(self) -> list[Population]:
        """Replace each sketch that has a remembered one; it held the profile's scores already.

        Returns:
            Those replaced.
        """
        restored: list[Population] = []
        for population in self._populations.lasting:
            try:
                remembered = await self._store.load_sketch(population)
                if remembered:
                    self._populations.restore(population, remembered)
                    restored.append(population)
            except STORE_ERRORS as error:
                logger.warning("sketches not restored from %s on: %s", population, error)
                break
            except (TypeError, ValueError) as error:
                logger.warning("sketch of %s not restored: %s", population, error)
        for population in restored:
            num_scores = len(self._populations.sketches[population])
            logger.info("sketch of %s: %d confidences restored", population, num_scores)
        return restored

    async def run(self) -> None:
        """Save what has changed, every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(self._save_period_s)
            await self.save()

    async def save(self) -> None:
        """Save the sketches that have changed since the last time."""
        for population in self._populations.lasting:
            sketch = self._populations.sketches.get(population)
            scores = sketch.scores() if sketch is not None else None
            if scores is None or scores == self._saved.get(population):
                continue
            try:
                await self._store.save_sketch(population, scores)
            except STORE_ERRORS as error:
                # Once per outage, not once per attempt.
                if self._is_reachable:
                    logger.warning("sketches are not being saved: %s", error)
                self._is_reachable = False
                return
            if not self._is_reachable:
                logger.info("sketches are being saved again")
            self._is_reachable = True
            self._saved[population] = scores
