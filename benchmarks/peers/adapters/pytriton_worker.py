"""One mock device behind Triton, by PyTriton."""

from __future__ import annotations

from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, QueuePolicy, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.adapters.mock import Device, config
from diffserve.telemetry.server import free_port

CONFIG = config()
DEVICE = Device(CONFIG["seconds"], CONFIG["log"], CONFIG["num_bytes"])


@batch
def drawn(number: Any) -> dict[str, Any]:
    """Return the images of a batch of numbers, shape (batch, 1)."""
    images = DEVICE.run([int(one) for one in number[:, 0]])
    return {"image": np.char.encode(np.array(images), "utf-8")[:, None]}


def batcher() -> DynamicBatcher:
    """Return how queries are brought together, and how many may wait where that is limited."""
    policy = QueuePolicy(max_queue_size=CONFIG["capacity"]) if CONFIG["capacity"] else None
    return DynamicBatcher(
        max_queue_delay_microseconds=int(1e6 * CONFIG["batch_wait_s"]),
        default_queue_policy=policy,
    )


if __name__ == "__main__":
    ports = TritonConfig(
        http_address="127.0.0.1",
        http_port=CONFIG["port"],
        grpc_address="127.0.0.1",
        grpc_port=free_port(),
        allow_metrics=False,
    )
    with Triton(config=ports, workspace=f"{CONFIG['scratch']}/triton") as triton:
        triton.bind(
            model_name="mock",
            infer_func=drawn,
            inputs=[Tensor(name="number", dtype=np.int32, shape=(1,))],
            outputs=[Tensor(name="image", dtype=np.bytes_, shape=(1,))],
            config=ModelConfig(max_batch_size=CONFIG["batch_max"], batcher=batcher()),
        )
        triton.serve()
