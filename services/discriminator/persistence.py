"""Keeps sketches in Redis, so that a restarted discriminator remembers recent confidences."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from diffserve.core import Population
from diffserve.scoring.populations import Populations
from diffserve.telemetry.store import STORE_ERRORS, TelemetryStore

logger = logging.getLogger(__name__)

SAVE_PERIOD_S = 3.0


class SketchKeeper:
    """Restores sketches once and saves them while they change; does without Redis.

    No sketch is saved before the remembered one was looked for, whenever Redis answers.
    Those of variants that the catalog lacks are not kept: nobody would know their names.

    Args:
        store: Where they are remembered.
        populations: What has sketches.
        on_restored: Told of every population whose sketch holds now what was remembered.
        save_period_s: Seconds between two looks at what has changed.
    """

    def __init__(
        self,
        store: TelemetryStore,
        populations: Populations,
        on_restored: Callable[[Population], None],
        save_period_s: float = SAVE_PERIOD_S,
    ) -> None:
        self._store = store
        self._populations = populations
        self._on_restored = on_restored
        self._save_period_s = save_period_s
        # What every sketch held at the first look; then, once it was looked for in Redis, what was
        # saved of it last, None before the first time.
        self._initial: dict[Population, tuple[float, ...]] = {}
        self._saved: dict[Population, tuple[float, ...] | None] = {}
        self._is_reachable = True

    async def restore(self) -> None:
        """Replace each sketch that has a remembered one; it held the profile's scores already."""
        for population in self._populations.lasting:
            self._initial.setdefault(population, self._scores(population))
        for population in self._populations.lasting:
            if population in self._saved:
                continue
            try:
                await self._restore(population)
            except STORE_ERRORS as error:
                self._note_outage("sketches are neither restored nor saved: %s", error)
                return

    async def run(self) -> None:
        """Save what has changed, every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(self._save_period_s)
            await self.save()

    async def save(self) -> None:
        """Save the sketches that have changed since the last time."""
        await self.restore()
        for population in self._populations.lasting:
            scores = self._scores(population)
            if population not in self._saved or scores in ((), self._saved[population]):
                continue
            try:
                await self._store.save_sketch(population, scores)
            except STORE_ERRORS as error:
                self._note_outage("sketches are not being saved: %s", error)
                return
            if not self._is_reachable:
                logger.info("sketches are being saved again")
            self._is_reachable = True
            self._saved[population] = scores

    async def _restore(self, population: Population) -> None:
        """Put what is remembered in place of what a sketch began with; later scores stay."""
        remembered: list[float] = []
        try:
            remembered = await self._store.load_sketch(population)
            if remembered:
                seen = _later(self._initial[population], self._scores(population))
                self._populations.restore(population, [*remembered, *seen])
        except (TypeError, ValueError) as error:
            logger.warning("sketch of %s not restored: %s", population, error)
            remembered = []
        self._saved[population] = None
        if remembered:
            logger.info("sketch of %s: %d confidences restored", population, len(remembered))
            self._on_restored(population)

    def _scores(self, population: Population) -> tuple[float, ...]:
        sketch = self._populations.sketches.get(population)
        return sketch.scores() if sketch is not None else ()

    def _note_outage(self, message: str, error: Exception) -> None:
        """Warn once per outage, not once per attempt."""
        if self._is_reachable:
            logger.warning(message, error)
        self._is_reachable = False


def _later(initial: tuple[float, ...], scores: tuple[float, ...]) -> tuple[float, ...]:
    """Return what a sliding window took in after its initial scores.

    The oldest of the initial ones may have left it since.
    """
    sizes = range(min(len(initial), len(scores)), -1, -1)
    num_left = next(n for n in sizes if scores[:n] == initial[len(initial) - n :])
    return scores[num_left:]
