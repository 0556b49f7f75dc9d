"""Tells the discriminator what this worker scored itself, and brings back what to rank among."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

from diffserve.core import Population
from diffserve.profiles.sketch import scattered
from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import common_pb2, discriminator_pb2, discriminator_pb2_grpc
from diffserve.scoring.populations import Populations

logger = logging.getLogger(__name__)

PERIOD_S = 0.25
"""Between reports while there is news; as old are the confidences of others at most."""
IDLE_PERIOD_S = 2.0
TIMEOUT_S = 2.0
LAST_TIMEOUT_S = 0.5
NUM_KEPT_MAX = 2048
"""Newest confidences of a population, and heavy images, kept while nobody takes them."""


@dataclass(slots=True)
class _News:
    """Confidences of a population that are not reported yet.

    Attributes:
        confidences: Oldest first.
        scoring_s: Seconds that each batch of them took.
    """

    confidences: deque[float] = field(default_factory=lambda: deque(maxlen=NUM_KEPT_MAX))
    scoring_s: deque[float] = field(default_factory=lambda: deque(maxlen=NUM_KEPT_MAX))


class Reports:
    """Lives on the event loop; serving goes on with the last answer while nobody answers."""

    def __init__(self, address: str, populations: Populations) -> None:
        """Connect lazily.

        Args:
            address: ``host:port`` of the discriminator.
            populations: Its sketches are replaced by every answer.
        """
        self._address = address
        self._populations = populations
        self._channel = open_channel(address)
        self._stub = discriminator_pb2_grpc.DiscriminatorStub(self._channel)
        self._light: dict[Population, _News] = {}
        self._heavy: deque[discriminator_pb2.HeavyConfidence] = deque(maxlen=NUM_KEPT_MAX)
        self._stirred = asyncio.Event()
        self._is_reachable = True
        self._under_way: asyncio.Task[None] | None = None

    def light(self, population: Population, confidences: Sequence[float], scoring_s: float) -> None:
        """Note the confidences of light images, and the seconds they took."""
        news = self._light.setdefault(population, _News())
        news.confidences.extend(confidences)
        news.scoring_s.append(scoring_s)
        self._stirred.set()

    def heavy(self, light: common_pb2.LightScore, confidence: float, scoring_s: float) -> None:
        """Note the confidence of a heavy image, and what was said of the light one before."""
        self._heavy.append(
            discriminator_pb2.HeavyConfidence(
                light=light, confidence=confidence, scoring_s=scoring_s
            )
        )
        self._stirred.set()

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            # A task of its own: cancelled with this one, what it holds would be lost.
            self._under_way = asyncio.create_task(self.report())
            await asyncio.shield(self._under_way)
            await asyncio.sleep(PERIOD_S)
            try:
                async with asyncio.timeout(IDLE_PERIOD_S):
                    await self._stirred.wait()
            except TimeoutError:
                pass  # others report, too: what to rank among changes all the same

    async def report(self, timeout_s: float = TIMEOUT_S) -> None:
        """Report once: what is new, or a mere question about every population."""
        self._stirred.clear()
        light, heavy = self._light, list(self._heavy)
        self._light = {}
        self._heavy.clear()
        asked = list(light) or list(self._populations.sketches)
        request = discriminator_pb2.ObserveRequest(
            light=[_message(population, light.get(population)) for population in asked],
            heavy=heavy,
        )
        try:
            response = await self._stub.Observe(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                logger.error(
                    "the discriminator refuses a report, which is lost: %s", error.details()
                )
            else:
                self._keep(light, heavy, error)
            return
        if not self._is_reachable:
            logger.info("the discriminator at %s takes reports again", self._address)
        self._is_reachable = True
        # A discriminator of another version may say less; this task goes on all the same.
        for population, sketch in zip(asked, response.sketches, strict=False):
            if sketch.confidences:
                self._populations.restore(population, scattered(sketch.confidences))

    async def close(self) -> None:
        """Let a report under way arrive, report what is left and close the connection."""
        if self._under_way is not None:
            _, late = await asyncio.wait({self._under_way}, timeout=LAST_TIMEOUT_S)
            for task in late:
                task.cancel()
        if self._light or self._heavy:
            await self.report(LAST_TIMEOUT_S)
        await self._channel.close()

    def _keep(
        self,
        light: dict[Population, _News],
        heavy: list[discriminator_pb2.HeavyConfidence],
        error: grpc.aio.AioRpcError,
    ) -> None:
        """Put news back that nobody took, before what has come since."""
        # Once per outage, not once per attempt.
        if self._is_reachable:
            what = f"{error.code().name}: {error.details()}"
            logger.warning("the discriminator at %s takes no reports: %s", self._address, what)
        self._is_reachable = False
        for population, older in light.items():
            newer = self._light.get(population, _News())
            older.confidences.extend(newer.confidences)
            older.scoring_s.extend(newer.scoring_s)
            self._light[population] = older
        self._heavy.extendleft(reversed(heavy))


def _message(population: Population, news: _News | None) -> discriminator_pb2.Confidences:
    message = discriminator_pb2.Confidences(
        discriminator=population.discriminator, variant_id=population.variant_id
    )
    if news is not None:
        message.confidences.extend(news.confidences)
        message.scoring_s.extend(news.scoring_s)
    return message
