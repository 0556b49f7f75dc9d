"""A Ray cluster of one machine that talks to itself only."""

from __future__ import annotations

import asyncio
from typing import Any

import ray
from ray import serve


def run(application: Any, config: dict[str, Any]) -> None:
    """Serve until the process is ended."""
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        # Ray takes 127.0.0.1 for "find an outside address"; this one it leaves alone.
        _node_ip_address="127.0.0.2",
        _temp_dir=config["scratch"],
    )
    serve.start(http_options={"host": "127.0.0.1", "port": config["port"]})
    serve.run(application)
    asyncio.run(asyncio.Event().wait())
