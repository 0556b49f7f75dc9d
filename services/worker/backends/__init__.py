"""What runs a variant: the mock, or any diffusers pipeline."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from diffserve.catalog import MOCK_PIPELINE
from diffserve.core import Variant
from diffserve.errors import ConfigError
from diffserve.profiles.latency import LatencyProfile
from services.worker.backends.base import Backend
from services.worker.backends.mock import MockBackend
from services.worker.memory import Memory


class Backends:
    """The backend of each variant, made when first needed: a mock worker never imports torch."""

    def __init__(
        self,
        device: str,
        num_threads: int,
        latency: Mapping[str, LatencyProfile],
        compile_mode: str = "auto",
    ) -> None:
        """Remember the settings; ``device`` may be ``auto`` until ``prepare``."""
        self._latency = latency
        self._compile_mode = compile_mode
        self._device = device
        self._num_threads = num_threads
        self._mock = MockBackend("cpu" if device == "auto" else device, latency)
        self._diffusers: Backend | None = None

    def prepare(self, variants: Iterable[Variant]) -> None:
        """Import what ``variants`` need. Call it on the thread that will run them.

        Raises:
            ConfigError: a library is missing or the device does not exist.
        """
        if self._diffusers is None and any(v.pipeline != MOCK_PIPELINE for v in variants):
            # The libraries read these while being imported; advice to developers is no news here.
            os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
            os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
            try:
                from services.worker.backends.diffusers import DiffusersBackend
            except ImportError as error:
                raise ConfigError(
                    f"catalog: its variants need torch and diffusers (pip install "
                    f"'diffserve[models]'): {error}"
                ) from None
            self._diffusers = DiffusersBackend(
                self._device,
                self._num_threads,
                {v: profile.batch_sizes for v, profile in self._latency.items()},
                self._compile_mode,
            )

    def of(self, variant: Variant) -> Backend:
        """Return the backend that runs ``variant``; ``prepare`` has seen it."""
        if variant.pipeline == MOCK_PIPELINE:
            return self._mock
        assert self._diffusers is not None, "prepare() was not called"
        return self._diffusers

    @property
    def device(self) -> str:
        """``cpu``, ``cuda:0`` and so on."""
        return (self._diffusers or self._mock).device

    @property
    def device_type(self) -> str:
        """Kind of the device: the name that CUDA tells, else ``cpu``."""
        return (self._diffusers or self._mock).device_type

    def memory(self) -> Memory:
        """Return the memory of the device, or of the process on CPU."""
        return (self._diffusers or self._mock).memory()

    def release(self) -> None:
        """Give the memory of dropped replicas back to the system."""
        (self._diffusers or self._mock).release()
