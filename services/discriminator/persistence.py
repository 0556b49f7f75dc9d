"""Keeps sketches in Redis, so that a restarted discriminator remembers recent confidences."""

from __future__ import annotations

import asyncio
import logging

from diffserve.profiles.sketch import QuantileSketch
from diffserve.telemetry.store import STORE_ERRORS, TelemetryStore

logger = logging.getLogger(__name__)

SAVE_PERIOD_S = 3.0


class SketchKeeper:
    """Restores sketches once and saves them while they change; does without Redis."""

    def __init__(
        self,
        store: TelemetryStore,
        sketches: dict[str, QuantileSketch],
        capacity: int,
        save_period_s: float = SAVE_PERIOD_S,
    ) -> None:
        """Keep ``sketches`` (replaced in place on ``restore``), each of ``capacity`` scores."""
        self._store = store
        self._sketches = sketches
        self._capacity = capacity
        self._save_period_s = save_period_s
        self._saved: dict[str, tuple[float, ...]] = {}
        self._is_reachable = True

    async def restore(self) -> list[str]:
        """Replace each sketch that has a remembered one; it held the profile's scores already.

        Returns:
            Those replaced.
        """
        names: list[str] = []
        for name in self._sketches:
            try:
                remembered = await self._store.load_sketch(name)
                restored = QuantileSketch(self._capacity, remembered)
            except (*STORE_ERRORS, ValueError) as error:
                logger.warning("sketch of %s not restored: %s", name, error)
                continue
            if remembered:
                self._sketches[name] = restored
                names.append(name)
                logger.info("sketch of %s: %d confidences restored", name, len(restored))
        return names

    async def run(self) -> None:
        """Save what has changed, every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(self._save_period_s)
            await self.save()

    async def save(self) -> None:
        """Save the sketches that have changed since the last time."""
        for name, sketch in self._sketches.items():
            scores = sketch.scores()
            if scores == self._saved.get(name):
                continue
            try:
                await self._store.save_sketch(name, scores)
            except STORE_ERRORS as error:
                # Once per outage, not once per attempt.
                if self._is_reachable:
                    logger.warning("sketches are not being saved: %s", error)
                self._is_reachable = False
                return
            if not self._is_reachable:
                logger.info("sketches are being saved again")
            self._is_reachable = True
            self._saved[name] = scores
