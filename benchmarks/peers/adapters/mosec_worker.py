"""One mock device behind Mosec."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.peers.adapters.mock import Device, config

CONFIG = config()
os.environ |= {
    "MOSEC_ADDRESS": "127.0.0.1",
    "MOSEC_PORT": str(CONFIG["port"]),
    "MOSEC_TIMEOUT": "60000",
    "MOSEC_PATH": f"{CONFIG['scratch']}/mosec",
}
if CONFIG["capacity"]:
    os.environ["MOSEC_CAPACITY"] = str(CONFIG["capacity"])

import mosec  # noqa: E402  # it reads the variables when it is imported


class Worker(mosec.Worker):
    def __init__(self) -> None:
        self._device = Device(CONFIG["seconds"], CONFIG["log"], CONFIG["num_bytes"])

    def forward(self, data: Any) -> Any:
        if CONFIG["batch_max"] == 1:
            return {"image": self._device.run([data["number"]])[0]}
        return [{"image": image} for image in self._device.run([one["number"] for one in data])]


if __name__ == "__main__":
    server = mosec.Server()
    server.append_worker(
        Worker,
        num=1,
        max_batch_size=CONFIG["batch_max"],
        max_wait_time=int(1000 * CONFIG["batch_wait_s"]),
    )
    server.run()
