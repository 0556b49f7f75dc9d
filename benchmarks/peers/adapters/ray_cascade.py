"""The cascade as Ray Serve deployments that call each other by handles."""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve

from benchmarks.peers.adapters.mock import Device, config
from benchmarks.peers.adapters.ray_local import run

CONFIG = config()
PLAN = CONFIG["plan"]
OPTIONS = {"num_cpus": 0}


def _stage(name: str) -> Any:
    batch_max = PLAN[f"{name}_batch"]

    # Twice the batch, so that the next one is there when a batch ends, as Ray's guide advises; a
    # lone replica may hold all that waits.
    @serve.deployment(
        name=name,
        num_replicas=PLAN[f"{name}_workers"],
        max_ongoing_requests=10_000 if PLAN[f"{name}_workers"] == 1 else 2 * batch_max,
        ray_actor_options=OPTIONS,
    )
    class Stage:
        def __init__(self) -> None:
            self._device = Device(CONFIG[name], "", CONFIG["num_bytes"])

        @serve.batch(max_batch_size=batch_max, batch_wait_timeout_s=CONFIG[f"{name}_wait_s"])
        async def __call__(self, numbers: list[int]) -> list[str]:
            return await asyncio.to_thread(self._device.run, numbers)

    return Stage.bind()


@serve.deployment(max_ongoing_requests=1000, ray_actor_options=OPTIONS)
class Discriminator:
    def __call__(self, number: int) -> float:
        return float(CONFIG["confidences"][number])


@serve.deployment(max_ongoing_requests=10_000, ray_actor_options=OPTIONS)
class Cascade:
    def __init__(self, light: Any, discriminator: Any, heavy: Any) -> None:
        self._light, self._discriminator, self._heavy = light, discriminator, heavy

    async def __call__(self, request: Any) -> dict[str, str]:
        number = (await request.json())["number"]
        image = await self._light.remote(number)
        if await self._discriminator.remote(number) >= CONFIG["threshold"]:
            return {"variant": "light", "image": image}
        return {"variant": "heavy", "image": await self._heavy.remote(number)}


if __name__ == "__main__":
    run(Cascade.bind(_stage("light"), Discriminator.bind(), _stage("heavy")), CONFIG)
