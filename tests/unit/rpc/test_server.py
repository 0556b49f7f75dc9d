"""What every service does around its application."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import asyncio, gc, json, os, signal
from diffserve.config import SharedSettings
from diffserve.rpc.server import run, serve


class Application:
    async def start(self, health, port):
        self.models = [[index] for index in range(50_000)]
        self.garbage = [gc.collect(), [self.models]]
        self.task = asyncio.create_task(self.look(health))

    async def look(self, health):
        while not health.is_serving:
            await asyncio.sleep(0.01)
        young = sum(len(gc.get_objects(generation)) for generation in range(3))
        print(json.dumps({"frozen": gc.get_freeze_count(), "young": young}))
        os.kill(os.getpid(), signal.SIGTERM)

    async def drain(self):
        pass

    async def stop(self):
        pass


settings = SharedSettings(grace_s=1.0)
raise SystemExit(run(lambda: serve(Application(), [], settings, 0)))
"""


def test_start_up_is_not_walked_through_again_while_serving() -> None:
    """A full garbage collection stops everything; it must not take the time of an answer margin."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["frozen"] > 50_000
    assert told["young"] < 5_000
