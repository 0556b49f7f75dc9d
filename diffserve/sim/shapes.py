"""Arrival rates over time: shapes of load, each scaled to a peak."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP_S = 1.0
"""Rates are constant over steps of this length."""

Rates = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RateCurve:
    """Queries per second, step by step.

    Attributes:
        qps: Rate in each step of ``STEP_S`` seconds.
    """

    qps: Rates

    @property
    def peak_qps(self) -> float:
        """Largest rate."""
        return float(self.qps.max(initial=0.0))

    def scaled_to(self, peak_qps: float) -> RateCurve:
        """Return the same shape with another peak."""
        return RateCurve(self.qps * (peak_qps / max(self.peak_qps, 1e-12)))

    def smoothed(self, width_s: float) -> RateCurve:
        """Return a centred moving average; at the ends over what there is."""
        width = max(1, round(width_s / STEP_S))
        kernel = np.ones(width)
        covered = np.convolve(np.ones_like(self.qps), kernel, mode="same")
        return RateCurve(np.convolve(self.qps, kernel, mode="same") / covered)

    def faster(self, factor: float) -> RateCurve:
        """Return the curve that has the same queries in a time ``factor`` times shorter."""
        cumulative = np.concatenate(([0.0], np.cumsum(self.qps)))
        count = max(1, math.ceil(len(self.qps) / factor))
        edges = np.minimum(np.arange(count + 1) * factor, len(self.qps))
        return RateCurve(np.diff(np.interp(edges, np.arange(len(cumulative)), cumulative)))


def azure(duration_s: float) -> RateCurve:
    """Return a day's hump: a long rise with a shoulder, one peak, a steeper fall.

    The shape is ours, in the manner of the public Azure Functions traces (a five- to eightfold
    daily swing, a morning shoulder, an afternoon peak); no figure of any trace file is in it.
    """
    day = _progress(duration_s)
    morning = 0.45 * _bell(day, 0.38, 0.13)
    afternoon = 0.80 * _bell(day, 0.64, 0.12)
    return RateCurve(0.12 + morning + afternoon)


def constant(duration_s: float) -> RateCurve:
    """Return a constant rate."""
    return RateCurve(np.ones_like(_progress(duration_s)))


def steps(duration_s: float) -> RateCurve:
    """Return five plateaus: up by a factor of four, further up, down, up and down."""
    levels = np.array([0.2, 0.8, 1.0, 0.3, 0.6])
    return RateCurve(levels[(_progress(duration_s) * len(levels)).astype(int)])


def flash(duration_s: float) -> RateCurve:
    """Return a quarter of the peak, but for a flash crowd in the middle at four times that."""
    day = _progress(duration_s)
    return RateCurve(np.where((day >= 0.45) & (day < 0.55), 1.0, 0.25))


SHAPES: Mapping[str, Callable[[float], RateCurve]] = {
    "azure": azure,
    "poisson": constant,
    "gamma": constant,
    "steps": steps,
    "flash": flash,
}
"""Shapes by the name of their trace."""


def _progress(duration_s: float) -> Rates:
    """Return the middle of every step, as a share of the duration."""
    count = max(1, round(duration_s / STEP_S))
    return (np.arange(count) + 0.5) / count


def _bell(day: Rates, centre: float, width: float) -> Rates:
    return np.exp(-0.5 * ((day - centre) / width) ** 2)
