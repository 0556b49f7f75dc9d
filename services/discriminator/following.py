"""Cascades that are activated while the discriminator runs: it learns of them from Redis."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from google.protobuf import json_format

from diffserve.activation import CatalogInForce
from diffserve.catalog import Catalog
from diffserve.rpc.v1 import controller_pb2
from diffserve.telemetry.store import STORE_ERRORS, TelemetryStore

logger = logging.getLogger(__name__)

FOLLOW_PERIOD_S = 2.0


class ActivationFollower:
    """Looks at the plan in force every few seconds; does without it when Redis is gone."""

    def __init__(
        self, store: TelemetryStore, catalog: Catalog, on_news: Callable[[Catalog], None]
    ) -> None:
        """Look at nothing yet.

        Args:
            store: Holds the plan.
            catalog: Of the settings.
            on_news: Gets the catalog with what was activated.
        """
        self._store = store
        self._in_force = CatalogInForce(catalog)
        self._on_news = on_news

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(FOLLOW_PERIOD_S)

    async def look(self) -> None:
        """Look once."""
        try:
            document = await self._store.load_plan()
            plan = json_format.Parse(
                document or "{}", controller_pb2.Plan(), ignore_unknown_fields=True
            )
        except (*STORE_ERRORS, json_format.ParseError) as error:
            logger.debug("the plan in force is not known: %s", error)
            return
        if self._in_force.follow(plan.activation, plan.plan_id):
            self._on_news(self._in_force.current)
