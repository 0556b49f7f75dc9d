"""What a cascade of two variants gives and costs, from what both drew for the same prompts.

Pure, and without torch: arrays of measured outcomes go in, operating points come out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

#: Shares of deferred images at which cascades are looked at: 0, 0.01, ..., 1.
FRACTIONS: tuple[float, ...] = tuple(round(0.01 * step, 2) for step in range(101))


def gain_of_deferring(
    confidences: Floats, gains: Floats, fractions: Sequence[float]
) -> NDArray[np.float64]:
    """Return the mean gain over all images when the least confident ones are drawn again.

    Images of equal confidence are deferred in equal parts, so the order of the prompts never
    decides. Equal confidences everywhere are random routing, and minus the gains the oracle's.

    Args:
        confidences: Of the light images, shape (N,).
        gains: What deferring each image adds to its quality, shape (N,).
        fractions: Shares of the images that are deferred, each in [0, 1].

    Returns:
        The mean gain at each fraction.
    """
    _, group = np.unique(confidences, return_inverse=True)
    deferred = np.concatenate([[0.0], np.bincount(group).cumsum()]) / len(gains)
    gained = np.concatenate([[0.0], np.bincount(group, weights=gains).cumsum()]) / len(gains)
    return np.interp(fractions, deferred, gained)


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A cascade at one share of deferred images.

    Attributes:
        fraction: Share of the light images that are drawn again, 0..1.
        quality: Mean quality of the answers.
        device_s: Mean device time of an answer, seconds.
    """

    fraction: float
    quality: float
    device_s: float


@dataclass(frozen=True, kw_only=True)
class PairedOutcomes:
    """What a light and a heavy variant drew for the same prompts, and what that cost.

    Attributes:
        light: Quality of every light image, higher is better, e.g. 1 for right; shape (N,).
        heavy: The same of the heavy images of the same prompts.
        confidences: The discriminator's in the light images; the lowest are deferred.
        light_s: Device time of one light image, seconds.
        heavy_s: Device time of one heavy image, seconds.
        scoring_s: Device time of one score, seconds.
    """

    light: Floats
    heavy: Floats
    confidences: Floats
    light_s: float
    heavy_s: float
    scoring_s: float

    def __post_init__(self) -> None:
        shapes = {self.light.shape, self.heavy.shape, self.confidences.shape}
        if len(shapes) != 1 or self.light.ndim != 1 or not len(self.light):
            raise ValueError(
                "light, heavy and confidences need one value per prompt each, got shapes "
                f"{self.light.shape}, {self.heavy.shape} and {self.confidences.shape}"
            )

    def points(self, fractions: Sequence[float] = FRACTIONS) -> tuple[OperatingPoint, ...]:
        """Return quality and device time at shares of deferred images, in their order."""
        gains = gain_of_deferring(self.confidences, self.heavy - self.light, fractions)
        return tuple(
            OperatingPoint(
                fraction=fraction,
                quality=float(self.light.mean() + gain),
                device_s=self.light_s + self.scoring_s + fraction * self.heavy_s,
            )
            for fraction, gain in zip(fractions, gains.tolist(), strict=True)
        )

    def spreads(self, fractions: Sequence[float] = FRACTIONS) -> tuple[float, ...]:
        """Return how much answers vary at shares of deferred images, in their order.

        Returns:
            Standard deviations, relative to those of answers that are 0 or 1 with the same mean;
            so 1 where qualities are 0 or 1. Qualities are in [0, 1].
        """
        light, heavy = self.light**2, self.heavy**2
        squares = light.mean() + gain_of_deferring(self.confidences, heavy - light, fractions)
        means = [point.quality for point in self.points(fractions)]
        return tuple(
            math.sqrt(min(1.0, max(0.0, square - mean**2) / (mean * (1.0 - mean))))
            if 0.0 < mean < 1.0
            else 1.0
            for square, mean in zip(squares.tolist(), means, strict=True)
        )


def cheapest(points: Iterable[OperatingPoint], quality_min: float) -> OperatingPoint | None:
    """Return the point of least device time whose quality is at least ``quality_min``, if any.

    Of equally cheap ones the better is taken.
    """
    good_enough = [point for point in points if point.quality >= quality_min]
    return min(good_enough, key=lambda point: (point.device_s, -point.quality), default=None)


def pareto_best(points: Iterable[OperatingPoint]) -> list[OperatingPoint]:
    """Return the points that no other one beats in quality and device time, cheapest first."""
    best: list[OperatingPoint] = []
    for point in sorted(points, key=lambda point: (point.device_s, -point.quality)):
        if not best or point.quality > best[-1].quality:
            best.append(point)
    return best
