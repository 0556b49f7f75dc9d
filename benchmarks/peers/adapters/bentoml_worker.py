"""One mock device as a BentoML service."""

from __future__ import annotations

import bentoml

from benchmarks.peers.adapters.mock import Device, config

CONFIG = config()
TIMEOUT_S = 60
TRAFFIC = {"timeout": TIMEOUT_S}
if CONFIG["capacity"]:
    TRAFFIC["max_concurrency"] = CONFIG["capacity"]

BATCHING = {"batchable": True, "max_batch_size": CONFIG["batch_max"]}
BATCHING["max_latency_ms"] = 1000 * TIMEOUT_S
if CONFIG["batch_max"] == 1:
    BATCHING = {}


@bentoml.service(name="worker", workers=1, threads=1, traffic=TRAFFIC)
class Worker:
    def __init__(self) -> None:
        self._device = Device(CONFIG["seconds"], CONFIG["log"], CONFIG["num_bytes"])

    @bentoml.api(route="/", **BATCHING)
    def draw(self, numbers: list[int]) -> list[str]:
        return self._device.run(numbers)
