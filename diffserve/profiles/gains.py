"""What a deferral gains, image by image: the slope of the quality curve."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from diffserve.errors import ProfileError
from diffserve.profiles.curves import QualityCurve, interpolate

ROUNDING = 1e-9
"""Slopes that differ by a smaller part are one: a straight table is not straight in binary."""


@dataclass(frozen=True, slots=True)
class GainCurve:
    """Rank of a light image -> quality that its deferral adds; the worst image gains most.

    Deferring the share f of the worst images gives quality q(f), so the image at rank f adds q'(f).

    Attributes:
        ranks: Ascending, from 0 to the last share worth deferring.
        gains: In the units of the quality curve, strictly falling, none below 0.
    """

    ranks: tuple[float, ...]
    gains: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.ranks) != len(self.gains) or not self.ranks:
            raise ProfileError("gain curve: one gain per rank is needed")
        if any(b <= a for a, b in itertools.pairwise(self.ranks)):
            raise ProfileError("gain curve: ranks must rise")
        if any(b >= a for a, b in itertools.pairwise(self.gains)) or self.gains[-1] < 0.0:
            raise ProfileError("gain curve: gains must fall, to 0 at the lowest")

    @classmethod
    def of(cls, curve: QualityCurve, weight: float = 1.0) -> Self:
        """Return the slopes of the concave envelope of a curve, up to its best share.

        A table's slope jumps at every point; here it is exact in the middle of each stretch and
        linear in between, so that a small change of price changes the share a little.

        Args:
            curve: Quality by share.
            weight: What its quality counts against that of other cascades, above 0.
        """
        middles, slopes = _slopes(_envelope(curve))
        if not middles:
            return cls((0.0,), (0.0,))
        if len(slopes) > 1:
            rise = middles[0] * (slopes[0] - slopes[1]) / (middles[1] - middles[0])
            fall = (slopes[-2] - slopes[-1]) / (middles[-1] - middles[-2])
            fall *= curve.best_fraction - middles[-1]
        else:
            # A straight curve is given a slight bend: equal gains would all be deferred, or none.
            rise = fall = 1e-6 * slopes[0]
        gains = (slopes[0] + rise, *slopes, max(0.0, slopes[-1] - fall))
        return cls((0.0, *middles, curve.best_fraction), tuple(weight * gain for gain in gains))

    def share_at(self, price: float) -> float:
        """Return the share of images that gain more than ``price``: the worst ones, 0..1."""
        falling = [-gain for gain in self.gains]
        return interpolate(falling, self.ranks, -price)


def _envelope(curve: QualityCurve) -> list[tuple[float, float]]:
    """Return the corners of the least concave curve above a table, up to its best share."""
    hull: list[tuple[float, float]] = []
    for point in zip(curve.fractions, curve.qualities, strict=True):
        if point[0] > curve.best_fraction:
            break
        while len(hull) > 1 and not _bends_down(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _bends_down(
    before: tuple[float, float], corner: tuple[float, float], after: tuple[float, float]
) -> bool:
    """Tell whether the slope falls at a corner, by more than rounding may bring about."""
    slope, next_slope = _slope(before, corner), _slope(corner, after)
    return slope - next_slope > ROUNDING * max(abs(slope), abs(next_slope))


def _slopes(hull: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    stretches = list(itertools.pairwise(hull))
    return [(a[0] + b[0]) / 2.0 for a, b in stretches], [_slope(a, b) for a, b in stretches]


def _slope(start: tuple[float, float], end: tuple[float, float]) -> float:
    return (end[1] - start[1]) / (end[0] - start[0])
