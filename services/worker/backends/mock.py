"""A backend without models: it sleeps by the latency profile and draws a pattern."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from diffserve.core import Variant
from diffserve.profiles.latency import LatencyProfile
from services.worker.backends.base import Interrupted, OnStep, Picture, Replica
from services.worker.batch import BatchSpec
from services.worker.memory import Memory, process_memory


def draw(prompt: str, seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """Return stripes whose colours and angle are a hash of prompt and seed, (height, width, 3)."""
    digest = np.frombuffer(hashlib.sha256(f"{seed}:{prompt}".encode()).digest(), np.uint8)
    colours = digest[:6].reshape(2, 3)
    x_step, y_step, period = int(digest[6]) % 4 + 1, int(digest[7]) % 4 + 1, int(digest[8]) % 24 + 8
    rows = np.arange(height)[:, None] * y_step
    columns = np.arange(width)[None, :] * x_step
    image: NDArray[np.uint8] = colours[(rows + columns) // period % 2]
    return image


class MockReplica:
    """Takes as long as its profile says."""

    def __init__(self, variant: Variant, profile: LatencyProfile) -> None:
        self.memory_bytes = variant.memory_bytes
        self.warm_up_sizes: tuple[int, ...] = (1,)
        self.parks = False
        self._profile = profile

    def run(
        self, batch: BatchSpec, stop: threading.Event, on_step: OnStep | None = None
    ) -> list[Picture]:
        """Draw, then wait for the rest of the profiled time unless stopped.

        Raises:
            Interrupted: ``stop`` was set.
        """
        started_s = time.monotonic()
        steps = batch.num_inference_steps / batch.variant.num_inference_steps
        execution_s = self._profile.execution_s(len(batch.drawings)) * steps
        images: list[Picture] = [
            draw(drawing.prompt, drawing.seed, batch.width, batch.height)
            for drawing in batch.drawings
        ]
        num_waits = batch.num_inference_steps if on_step is not None else 1
        for step in range(1, num_waits + 1):
            # Waiting on the event is a sleep that the stop ends at once.
            left_s = started_s + execution_s * step / num_waits - time.monotonic()
            if stop.wait(left_s) if left_s > 0.0 else stop.is_set():
                raise Interrupted
            if on_step is not None:
                on_step(step, num_waits)
        return images

    def park(self) -> None:
        """Do nothing: nothing was allocated."""

    def unpark(self, wanted: Variant) -> None:
        """Do nothing."""

    def unknown_words(self, prompt: str) -> tuple[str, ...]:
        """Return nothing: a pattern knows every word."""
        return ()


class MockBackend:
    """Makes mock replicas; their memory is the catalog's figure, and nothing is allocated."""

    def __init__(self, device: str, latency: Mapping[str, LatencyProfile]) -> None:
        self.device = device
        self.device_type = device.partition(":")[0]
        self._latency = latency

    def estimate_bytes(self, variant: Variant) -> int:
        """Return the catalog's figure."""
        return variant.memory_bytes

    def load(self, variant: Variant, sibling: Replica | None) -> Replica:
        """Return a replica at once."""
        return MockReplica(variant, self._latency[variant.variant_id])

    def release(self) -> None:
        """Do nothing: nothing was allocated."""

    def memory(self) -> Memory:
        """Return the memory of this process."""
        return process_memory()
