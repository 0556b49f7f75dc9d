"""Repetitions with several seeds: the median, and how far they lie apart."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from diffserve.experiments.experiment import Context
from diffserve.sim.run import Simulation

KeyT = TypeVar("KeyT", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the seeds.

    Attributes:
        median: Of the seeds.
        low: Least.
        high: Largest.
    """

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """Return the spread of some values; those that are not numbers are left out."""
        known = [value for value in values if not math.isnan(value)]
        if not known:
            return Spread(math.nan, math.nan, math.nan)
        return Spread(statistics.median(known), min(known), max(known))

    def text(self, form: str = ".2f", factor: float = 1.0) -> str:
        """Return ``median (low-high)``, without the brackets where all look the same."""
        if math.isnan(self.median):
            return "-"
        middle, low, high = (
            format(factor * value, form) for value in (self.median, self.low, self.high)
        )
        return middle if low == high else f"{middle} ({low}-{high})"

    def middle(self, form: str = ".2f", factor: float = 1.0) -> str:
        """Return the median alone, where the range would only be in the way."""
        return "-" if math.isnan(self.median) else format(factor * self.median, form)

    def percent(self, form: str = ".2f") -> str:
        """Return it in per cent."""
        return self.text(form, 100.0)

    def document(self) -> dict[str, float]:
        """Return it as JSON values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True)
class Runs:
    """The same run with every seed.

    Attributes:
        metrics: Of each seed, in their order.
    """

    metrics: tuple[dict[str, Any], ...]

    @property
    def first(self) -> dict[str, Any]:
        """Metrics of the first seed, for what is drawn over time."""
        return self.metrics[0]

    def spread(self, name: str) -> Spread:
        """Return one metric over the seeds."""
        return Spread.of([float(metrics[name]) for metrics in self.metrics])

    def summary(self) -> dict[str, Any]:
        """Return what is worth keeping, as JSON values."""
        return {name: self.spread(name).document() for name in SUMMARY} | {
            "queries": [metrics["queries"] for metrics in self.metrics]
        }


SUMMARY = (
    "slo_violation_ratio",
    "rejected_ratio",
    "heavy_share",
    "quality_overall",
    "quality_windowed",
    "bound_quality_windowed",
    "device_busy",
    "bound_device_busy",
    "swaps",
    "latency_s_p50",
    "latency_s_p99",
)
"""Metrics that pages are made from; see ``sim.run`` for what they are."""


def repeat(context: Context, cases: Mapping[KeyT, Simulation]) -> dict[KeyT, Runs]:
    """Simulate every case with every seed."""
    runs = [
        dataclasses.replace(case, seed=seed) for case in cases.values() for seed in context.seeds
    ]
    metrics = iter(context.simulate(runs))
    return {key: Runs(tuple(next(metrics) for _ in context.seeds)) for key in cases}
