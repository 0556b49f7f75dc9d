"""Deferral fraction against confidence threshold, and quality against deferral fraction."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from diffserve.errors import ProfileError


def _check_axis(name: str, values: Sequence[float], *, strict: bool) -> None:
    if len(values) < 2:
        raise ProfileError(f"{name}: at least two points are needed")
    for before, after in itertools.pairwise(values):
        if not (math.isfinite(before) and math.isfinite(after)):
            raise ProfileError(f"{name}: values must be finite")
        if after < before or (strict and after == before):
            raise ProfileError(f"{name}: values must not decrease")


def interpolate(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Return y at x, linear between points, constant beyond the ends; ``xs`` must not fall."""
    if x <= xs[0]:
        return ys[0]
    if x >= xs[-1]:
        return ys[-1]
    right = bisect.bisect_right(xs, x)
    share = (x - xs[right - 1]) / (xs[right] - xs[right - 1])
    return ys[right - 1] + share * (ys[right] - ys[right - 1])


@dataclass(frozen=True, slots=True)
class DeferralProfile:
    """Confidence threshold t -> share f(t) of light images scored below it. Paper: §3.2.

    Attributes:
        thresholds: Ascending, in [0, 1].
        fractions: f at each threshold, non-decreasing, in [0, 1].
    """

    thresholds: tuple[float, ...]
    fractions: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.thresholds) != len(self.fractions):
            raise ProfileError("deferral profile: thresholds and fractions differ in length")
        _check_axis("deferral profile thresholds", self.thresholds, strict=True)
        _check_axis("deferral profile fractions", self.fractions, strict=False)

    def fraction_at(self, threshold: float) -> float:
        """Return f(t), linear between points."""
        return interpolate(self.thresholds, self.fractions, threshold)

    def threshold_for(self, fraction: float) -> float:
        """Return the largest listed threshold that defers at most ``fraction``."""
        index = bisect.bisect_right(self.fractions, fraction + 1e-9)
        return self.thresholds[max(index - 1, 0)]


@dataclass(frozen=True, slots=True)
class QualityCurve:
    """Deferral fraction -> expected quality of answers; higher is better.

    It need not be monotone: by the paper's own table FID is best at 60-90 % deferral, so we
    maximise quality instead of the threshold (docs/divergences.md). FID enters negated.

    Attributes:
        fractions: Deferral fractions, ascending, from 0 to 1.
        qualities: Quality at each.
        metric: What is measured, as shown to people.
    """

    fractions: tuple[float, ...]
    qualities: tuple[float, ...]
    metric: str

    def __post_init__(self) -> None:
        if len(self.fractions) != len(self.qualities):
            raise ProfileError("quality curve: fractions and qualities differ in length")
        _check_axis("quality curve fractions", self.fractions, strict=True)
        if self.fractions[0] != 0.0 or self.fractions[-1] != 1.0:
            raise ProfileError("quality curve: fractions must run from 0 to 1")
        if not all(math.isfinite(q) for q in self.qualities):
            raise ProfileError("quality curve: qualities must be finite")

    def quality_at(self, fraction: float) -> float:
        """Return the expected quality when ``fraction`` of the queries is deferred."""
        return interpolate(self.fractions, self.qualities, fraction)

    @property
    def best_fraction(self) -> float:
        """Smallest fraction of highest quality: deferring more costs and gains nothing."""
        best = max(range(len(self.fractions)), key=lambda i: (self.qualities[i], -i))
        return self.fractions[best]

    def flat_beyond(self, fraction: float) -> QualityCurve:
        """Return the curve as if deferring more than ``fraction`` gained nothing."""
        if fraction >= 1.0:
            return self
        kept = [(f, q) for f, q in zip(self.fractions, self.qualities, strict=True) if f < fraction]
        quality = self.quality_at(fraction)
        fractions, qualities = zip(*kept, (fraction, quality), (1.0, quality), strict=True)
        return QualityCurve(fractions, qualities, self.metric)


@dataclass(frozen=True, slots=True)
class BypassPoint:
    """Quality when the hardest queries, by their prompts, skip the light variant. HADIS: §3.

    Attributes:
        fraction: Share of the queries that go straight to the heavy variant, in (0, 1).
        quality: Share deferred of the *other* queries -> quality of all answers.
    """

    fraction: float
    quality: QualityCurve

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction < 1.0:
            raise ProfileError("bypass: fractions must be between 0 and 1")
