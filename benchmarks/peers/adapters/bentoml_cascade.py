"""The cascade as BentoML services that depend on each other."""

from __future__ import annotations

from typing import Any

import bentoml
from _bentoml_impl.client.proxy2 import SessionManager

from benchmarks.peers.adapters.mock import Device, config

CONFIG, PLAN = config(), config()["plan"]
TIMEOUT_S = 60
# After every 100 calls it closes the connections to a service, and the calls under way fail.
SessionManager._should_refresh = lambda self: self._session is None


def _batching(batch_max: int) -> dict[str, Any]:
    if batch_max == 1:  # it refuses these
        return {}
    return {"batchable": True, "max_batch_size": batch_max, "max_latency_ms": 1000 * TIMEOUT_S}


def _stage(name: str) -> Any:
    # One thread: a device runs one batch at a time.
    @bentoml.service(
        name=name, workers=PLAN[f"{name}_workers"], threads=1, traffic={"timeout": TIMEOUT_S}
    )
    class Stage:
        device = Device(CONFIG[name], "", CONFIG["num_bytes"])

        @bentoml.api(**_batching(PLAN[f"{name}_batch"]))
        def draw(self, numbers: list[int]) -> list[str]:
            return self.device.run(numbers)

    return Stage


Light, Heavy = _stage("light"), _stage("heavy")


@bentoml.service(name="discriminator", traffic={"timeout": TIMEOUT_S})
class Discriminator:
    @bentoml.api
    async def score(self, number: int) -> float:
        return float(CONFIG["confidences"][number])


@bentoml.service(name="cascade", traffic={"timeout": TIMEOUT_S, "max_concurrency": 10_000})
class Cascade:
    light = bentoml.depends(Light)
    heavy = bentoml.depends(Heavy)
    discriminator = bentoml.depends(Discriminator)

    @bentoml.api(route="/")
    async def generate(self, number: int) -> dict[str, str]:
        image = (await self.light.to_async.draw([number]))[0]
        if await self.discriminator.to_async.score(number) >= CONFIG["threshold"]:
            return {"variant": "light", "image": image}
        return {"variant": "heavy", "image": (await self.heavy.to_async.draw([number]))[0]}
