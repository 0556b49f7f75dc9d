"""One mock device behind Ray Serve's HTTP proxy."""

from __future__ import annotations

import asyncio
from typing import Any

from ray import serve

from benchmarks.peers.adapters.mock import Device, config
from benchmarks.peers.adapters.ray_local import run

CONFIG = config()
BATCH_MAX = CONFIG["batch_max"]


# One query at a time reaches a serial worker; a batching one gets the next batch beforehand.
@serve.deployment(
    max_ongoing_requests=1 if BATCH_MAX == 1 else 2 * BATCH_MAX,
    max_queued_requests=CONFIG["capacity"] or -1,
    ray_actor_options={"num_cpus": 0},
)
class Worker:
    def __init__(self) -> None:
        self._device = Device(CONFIG["seconds"], CONFIG["log"], CONFIG["num_bytes"])

    @serve.batch(max_batch_size=BATCH_MAX, batch_wait_timeout_s=CONFIG["batch_wait_s"])
    async def _draw(self, numbers: list[int]) -> list[str]:
        return await asyncio.to_thread(self._device.run, numbers)

    async def __call__(self, request: Any) -> dict[str, str]:
        return {"image": await self._draw((await request.json())["number"])}


if __name__ == "__main__":
    run(Worker.bind(), CONFIG)
