"""Measured execution times by variant and batch size, and what to expect of the next batch."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from diffserve.profiles.latency import LatencyProfile
from diffserve.profiles.online import LatencyEstimator
from diffserve.rpc.v1 import worker_pb2
from services.worker.batch import BatchSpec

WINDOW = 64
"""Recent executions behind each figure."""


@dataclass(slots=True)
class _Window:
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))
    num_executions: int = 0
    is_warm_up_only: bool = False


class Latencies:
    """Measurements of one worker; owned by the event loop."""

    def __init__(self, starting: Mapping[str, LatencyProfile]) -> None:
        """Expect the catalog's ``starting`` profiles until measured."""
        self._estimators = {name: LatencyEstimator(profile) for name, profile in starting.items()}
        self._windows: dict[tuple[str, int], _Window] = {}
        self.num_observed = 0

    def observe(self, batch: BatchSpec, execution_s: float, *, is_warm_up: bool = False) -> None:
        """Take in one finished batch; one with overridden settings says nothing of the profile.

        A warm-up pays for lazy initialisation too: it counts until the first real batch.
        """
        if not batch.is_native:
            return
        variant_id, size = batch.variant.variant_id, len(batch.drawings)
        window = self._windows.setdefault((variant_id, size), _Window())
        if window.is_warm_up_only and not is_warm_up:
            window.recent.clear()
            window.num_executions = 0
        window.is_warm_up_only = is_warm_up and not window.recent
        window.recent.append(execution_s)
        window.num_executions += 1
        self.num_observed += 1
        if not is_warm_up:
            self._estimators[variant_id].observe(size, execution_s)

    def expected_s(self, batch: BatchSpec) -> float:
        """Return the expected seconds of a batch; overrides scale with steps and pixels."""
        variant = batch.variant
        profile = self._estimators[variant.variant_id].profile
        steps = batch.num_inference_steps / variant.num_inference_steps
        pixels = batch.width * batch.height / (variant.width * variant.height)
        return profile.execution_s(len(batch.drawings)) * steps * pixels

    def samples(self) -> list[worker_pb2.LatencySample]:
        """Return the figures measured so far, by variant and batch size."""
        return [
            worker_pb2.LatencySample(
                variant_id=variant_id,
                batch_size=batch_size,
                execution_s_p50=_quantile(window.recent, 0.5),
                execution_s_p95=_quantile(window.recent, 0.95),
                num_executions=window.num_executions,
            )
            for (variant_id, batch_size), window in sorted(self._windows.items())
        ]


def _quantile(values: deque[float], share: float) -> float:
    """Return the smallest value with at least ``share`` of ``values`` at or below it."""
    return sorted(values)[math.ceil(share * len(values)) - 1]
