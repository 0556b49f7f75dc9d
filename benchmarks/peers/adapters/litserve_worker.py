"""One mock device behind LitServe."""

from __future__ import annotations

import os
from typing import Any

import litserve

from benchmarks.peers.adapters.mock import Device, config

CONFIG = config()


class Worker(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self._mock = Device(CONFIG["seconds"], CONFIG["log"], CONFIG["num_bytes"])

    def decode_request(self, request: dict[str, int]) -> int:
        return request["number"]

    def predict(self, x: Any) -> Any:
        return self._mock.run([x])[0] if CONFIG["batch_max"] == 1 else self._mock.run(x)

    def encode_response(self, output: str) -> dict[str, str]:
        return {"image": output}


if __name__ == "__main__":
    api = Worker(max_batch_size=CONFIG["batch_max"], batch_timeout=CONFIG["batch_wait_s"])
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=1,
        timeout=60,
        fast_queue="LITSERVE_FAST_QUEUE" in os.environ,
    )
    server.run(host="127.0.0.1", port=CONFIG["port"], generate_client_file=False, num_api_servers=1)
