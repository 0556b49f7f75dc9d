"""The life of a discriminator service: load, warm up, remember, drain, stop."""

from __future__ import annotations

import asyncio

from diffserve.catalog import Catalog
from diffserve.config import DiscriminatorSettings
from diffserve.observability.tracing import open_tracing
from diffserve.rpc.server import Health
from diffserve.telemetry.store import TelemetryStore
from services.discriminator.calibration import Publisher
from services.discriminator.following import ActivationFollower
from services.discriminator.persistence import SketchKeeper
from services.discriminator.scoring import Scoring
from services.discriminator.servicer import DiscriminatorServicer


class DiscriminatorApplication:
    """Builds the parts and runs them; see ``diffserve.rpc.server.Application``."""

    def __init__(self, settings: DiscriminatorSettings, catalog: Catalog) -> None:
        self.scoring = Scoring(catalog, settings.sketch_size)
        self._tracing = open_tracing("discriminator", settings.otlp_endpoint)
        self.servicer = DiscriminatorServicer(self.scoring, self._tracing)
        self._settings = settings
        self._store = TelemetryStore(settings.redis_url) if settings.redis_url else None
        self._keeper = self._new_keeper(self._store) if self._store else None
        self._catalog = catalog
        self._tasks: list[asyncio.Task[None]] = []

    def _new_keeper(self, store: TelemetryStore) -> SketchKeeper:
        populations, learnt = self.scoring.populations, self.scoring.learnt
        return SketchKeeper(
            store, populations, lambda known: learnt.resume(known, populations.sketches[known])
        )

    async def start(self, health: Health, port: int) -> None:
        """Load and warm up every discriminator of the catalog.

        Raises:
            ConfigError: one cannot be loaded.
        """
        await self.scoring.thread.start(self._settings.device, self._settings.num_threads)
        sketches = self.scoring.populations.sketches
        if self._store is not None:
            follower = ActivationFollower(self._store, self._catalog, self.scoring.add_cascades)
            # Before what an earlier process saw is restored: drift is told of what is followed.
            await follower.look()
            self._tasks.append(asyncio.create_task(follower.run()))
        if self._keeper is not None:
            await self._keeper.restore()
            self._tasks.append(asyncio.create_task(self._keeper.run()))
        if self._store is not None:
            thread = self.scoring.thread
            publisher = Publisher(
                self._store, self.scoring.learnt, sketches, lambda: thread.is_hung
            )
            self._tasks.append(asyncio.create_task(publisher.run()))
        self.servicer.unavailable = ""

    async def drain(self) -> None:
        """Refuse new work; finish what waits."""
        self.servicer.unavailable = "draining"
        await self.scoring.thread.wait_until_idle()

    async def stop(self) -> None:
        """Save the sketches a last time and release everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._keeper is not None:
            await self._keeper.save()
        if self._store is not None:
            await self._store.close()
        self.scoring.thread.close()
        if self._tracing is not None:
            await self._tracing.close()
