"""One mock device as a KServe model, by its Python server alone; it does not batch."""

from __future__ import annotations

from typing import Any

import kserve

from benchmarks.peers.adapters.mock import Device, config

CONFIG = config()


class Worker(kserve.Model):
    def __init__(self) -> None:
        super().__init__("mock")
        self._device = Device(CONFIG["seconds"], CONFIG["log"], CONFIG["num_bytes"])
        self.ready = True

    def predict(self, payload: Any, *_: Any, **__: Any) -> dict[str, str]:
        return {"image": self._device.run([payload["number"]])[0]}


if __name__ == "__main__":
    kserve.ModelServer(http_port=CONFIG["port"], enable_grpc=False, workers=1).start([Worker()])
