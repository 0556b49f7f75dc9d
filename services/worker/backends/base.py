"""What the executor asks of a backend. Everything here is called on the device thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from diffserve.core import Variant
from diffserve.errors import BackendError
from services.worker.batch import BatchSpec
from services.worker.memory import Memory

Pixels = NDArray[np.uint8] | NDArray[np.float32]
"""One image, (height, width, 3): 0..255 as uint8, or 0..1 as float32 (rounded off the device)."""


class PendingPicture(Protocol):
    """An image that the device is still decoding."""

    def result(self) -> NDArray[np.uint8]:
        """Wait for it, on any thread, and return it.

        Raises:
            BackendError: this query gets none.
        """


Picture = Pixels | PendingPicture | BackendError
"""An image, one to come, or why this query gets none."""


def settled(picture: Picture) -> Pixels:
    """Return an image, waiting for it if need be.

    Raises:
        BackendError: this query gets none.
    """
    if isinstance(picture, BackendError):
        raise picture
    return picture if isinstance(picture, np.ndarray) else picture.result()


NOT_FINITE = "the image holds NaN or infinite values; try another dtype"
"""Half-precision decoders make such when they overflow."""

OUT_OF_MEMORY = "out of memory"
"""How the message of a ``BackendError`` begins where the device's memory was short."""


OnStep = Callable[[int, int], None]
"""Called with the denoising steps done and those there are."""


class Interrupted(Exception):
    """The batch was stopped before its images were ready."""


class Replica(Protocol):
    """A variant in memory, ready to run.

    Attributes:
        memory_bytes: What its weights hold; shared weights are counted in full by each sharer.
        warm_up_sizes: Batch sizes to run once before serving; a first run may take far longer.
        parks: Its weights may wait in host memory, which is not the device's own.
    """

    memory_bytes: int
    warm_up_sizes: tuple[int, ...]
    parks: bool

    def run(
        self, batch: BatchSpec, stop: threading.Event, on_step: OnStep | None = None
    ) -> list[Picture]:
        """Return one image per query, in order; some may still be on their way.

        ``on_step``, where given, is called after each denoising step of the batch.

        Raises:
            Interrupted: ``stop`` was set; noticed at the next denoising step.
            BackendError: the pipeline failed.
        """

    def park(self) -> None:
        """Take its weights, and so its siblings', off the device; only where it ``parks``."""

    def unpark(self, wanted: Variant) -> None:
        """Bring the weights back to the device, for whichever sibling is wanted.

        Raises:
            ConfigError: they do not fit; names the variant that is wanted.
        """

    def unknown_words(self, prompt: str) -> tuple[str, ...]:
        """Return the words of ``prompt`` that the variant does not know, where it can tell."""


class Backend(Protocol):
    """Loads variants onto one device.

    Attributes:
        device: ``cpu``, ``cuda:0`` and so on.
        device_type: Kind of it: the name that CUDA tells, else ``cpu``.
    """

    device: str
    device_type: str

    def estimate_bytes(self, variant: Variant) -> int:
        """Return what loading would take as far as can be told, 0 when unknown.

        Raises:
            ConfigError: the weights cannot be there; names the field.
        """

    def load(self, variant: Variant, sibling: Replica | None) -> Replica:
        """Load a variant; ``sibling``, when given, has the same weights to share.

        Raises:
            ConfigError: it cannot be loaded; names the file or field.
        """

    def release(self) -> None:
        """Give the memory of dropped replicas back to the system."""

    def memory(self) -> Memory:
        """Return the memory of the device; callable from any thread."""
