"""The mock device of every peer: it sleeps as long as the profile says, and takes that down.

Standard library only: it runs in the environments of the peers.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONFIG_VARIABLE = "PEERS_CONFIG"
"""Names the file that says what to serve; the command writes it before it starts a peer."""


def config() -> dict[str, Any]:
    """Return what to serve."""
    found: dict[str, Any] = json.loads(Path(os.environ[CONFIG_VARIABLE]).read_text("utf-8"))
    return found


class Device:
    """Runs one batch at a time, as whoever calls it sees to."""

    def __init__(self, seconds_by_batch: Sequence[float], log: str, num_bytes: int) -> None:
        """Make a device.

        Args:
            seconds_by_batch: Execution time by batch size, from size 0.
            log: Takes a line per query that was executed: its number, when that began, and
                the process.
            num_bytes: Size of an image.
        """
        self._seconds = seconds_by_batch
        self._log = log
        self._image = base64.b64encode(os.urandom(num_bytes)).decode()

    def run(self, numbers: Sequence[int]) -> list[str]:
        """Execute a batch; return its images, as texts that JSON can hold."""
        began_s = time.time()
        if self._seconds[len(numbers)]:
            time.sleep(self._seconds[len(numbers)])
        if self._log:
            lines = "".join(f"{number} {began_s:.6f} {os.getpid()}\n" for number in numbers)
            with Path(self._log).open("a", encoding="utf-8") as log:
                log.write(lines)
        return [self._image] * len(numbers)
