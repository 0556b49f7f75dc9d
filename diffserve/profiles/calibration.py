"""What the heavy variant adds to a light image, learnt from queries that have both images.

A deferred query leaves two images of one prompt, and the discriminator can score both: a free
label. Shadow runs add labels for images that were accepted (``policy.shadow``). Everything here
is in units of the discriminator's confidence. That is not FID: the model that chooses also judges,
and it flatters itself.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from diffserve.profiles.curves import DeferralProfile, QualityCurve, interpolate

NUM_BINS = 20
"""Of the ranks, evenly wide."""
NUM_PER_BIN = 128
"""Newest pairs kept per bin: old prompts and weights are forgotten."""
NUM_PER_BIN_MIN = 5
"""Fewer pairs in any bin, and the fit is not one to plan with."""
NUM_SHADOWS = 1024
"""Newest shadow pairs kept for the bound on bad accepts."""
BAD_GAIN = 0.1
"""An accept was bad when the heavy image is better by more than this confidence."""
BOUND_CONFIDENCE = 0.95
METRIC = "mean discriminator confidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPair:
    """The light and the heavy image of one query, scored by the same discriminator.

    Attributes:
        rank: Of the light image's confidence among recent ones, when it was scored, 0..1.
        light: Its confidence, 0..1.
        heavy: Confidence of the heavy image, 0..1.
        is_shadow: The light image had been accepted.
    """

    rank: float
    light: float
    heavy: float
    is_shadow: bool

    @property
    def gain(self) -> float:
        """What the heavy image adds, -1..1."""
        return self.heavy - self.light


@dataclass(frozen=True, slots=True, kw_only=True)
class GainFit:
    """Expected gain by rank: a step function over evenly wide bins that never rises.

    Attributes:
        gains: Of each bin, from the lowest ranks to the highest, -1..1.
        num_pairs: Pairs behind it.
        is_complete: Every bin has pairs enough; otherwise some are guessed from their neighbours.
    """

    gains: tuple[float, ...]
    num_pairs: int
    is_complete: bool

    def quality_curve(self, light: float) -> QualityCurve:
        """Return expected confidence of the answers by the share deferred, lowest ranks first.

        q(f) is the light images' mean plus the integral of the gains over the ranks below f.

        Args:
            light: Mean confidence of light images, 0..1.
        """
        qualities = [light]
        for gain in self.gains:
            qualities.append(qualities[-1] + gain / len(self.gains))
        fractions = tuple(index / len(self.gains) for index in range(len(self.gains) + 1))
        return QualityCurve(fractions, tuple(qualities), METRIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class BadAccepts:
    """How many accepted images should rather have been deferred, by the shadow sample.

    Attributes:
        num_shadows: Accepted images compared.
        num_bad: Of those, the heavy image was better by more than ``BAD_GAIN``.
        share_max: Clopper-Pearson upper bound of their share, 95 % sure; 1 without a sample. Of
            the thresholds in force while the sample was taken.
    """

    num_shadows: int
    num_bad: int
    share_max: float


class GainCalibration:
    """Keeps recent pairs by rank, and fits the gain to them.

    Images with low ranks are deferred nearly always and leave many pairs, those with high ranks
    only by shadow runs. Weighting each pair with 1 / P(pair | rank) mends that. Ranks are evenly
    spread by construction, so the weight is one over the number of pairs in the rank's bin: every
    bin counts the same.
    """

    def __init__(self) -> None:
        self._bins: tuple[deque[float], ...] = tuple(
            deque(maxlen=NUM_PER_BIN) for _ in range(NUM_BINS)
        )
        self._shadows: deque[float] = deque(maxlen=NUM_SHADOWS)

    def add(self, pair: ScoredPair) -> None:
        """Take in a pair."""
        self._bins[min(int(pair.rank * NUM_BINS), NUM_BINS - 1)].append(pair.gain)
        if pair.is_shadow:
            self._shadows.append(pair.gain)

    def fit(self) -> GainFit | None:
        """Return the isotonic fit of the gain by rank; None without any pair."""
        known = [index for index, gains in enumerate(self._bins) if gains]
        if not known:
            return None
        means = [sum(self._bins[index]) / len(self._bins[index]) for index in known]
        fitted = dict(zip(known, fit_falling(means, [1.0] * len(means)), strict=True))
        return GainFit(
            gains=tuple(fitted[_nearest(known, index)] for index in range(NUM_BINS)),
            num_pairs=sum(len(gains) for gains in self._bins),
            is_complete=all(len(gains) >= NUM_PER_BIN_MIN for gains in self._bins),
        )

    def bad_accepts(self) -> BadAccepts:
        """Return what the shadow sample says of accepted images."""
        num_bad = sum(gain > BAD_GAIN for gain in self._shadows)
        return BadAccepts(
            num_shadows=len(self._shadows),
            num_bad=num_bad,
            share_max=share_upper_bound(num_bad, len(self._shadows), BOUND_CONFIDENCE),
        )


def fit_falling(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the non-increasing sequence closest to ``values`` in weighted squares. Pure.

    Pool adjacent violators (Ayer et al., Ann. Math. Stat. 26, 1955): neighbours in the wrong order
    become their mean, until none are.

    Args:
        values: In the order of the axis.
        weights: Above 0, as many.
    """
    blocks: list[tuple[float, float, int]] = []  # mean, weight, number of values
    for value, weight in zip(values, weights, strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] < blocks[-1][0]:
            mean, heaviness, count = blocks.pop()
            before, other, more = blocks.pop()
            total = other + heaviness
            blocks.append(((before * other + mean * heaviness) / total, total, more + count))
    return [mean for mean, _, count in blocks for _ in range(count)]


def share_upper_bound(num_hits: int, num_trials: int, confidence: float) -> float:
    """Return the largest share that so few hits do not rule out. Pure.

    Clopper and Pearson, Biometrika 26, 1934: exact, if a little wide.

    Args:
        num_hits: 0..``num_trials``.
        num_trials: Independent trials.
        confidence: Chance that the true share is below the bound, at least; in (0, 1).
    """
    if num_hits >= num_trials:
        return 1.0
    low, high = num_hits / num_trials, 1.0
    for _ in range(50):
        middle = (low + high) / 2.0
        if _chance_of_at_most(num_hits, num_trials, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def recalibrated(
    profile: DeferralProfile, fractions: Sequence[float], thresholds: Sequence[float]
) -> DeferralProfile:
    """Return a profile whose shares have the thresholds that they have by now. Pure.

    The shares stay, because they are the planner's grid.

    Args:
        profile: As measured with the cascade.
        fractions: Ascending, from 0 to 1.
        thresholds: Confidence below which each of them lies now, never falling.
    """
    rising: list[float] = []
    for fraction in profile.fractions:
        threshold = interpolate(fractions, thresholds, fraction)
        # Saturated confidences tie; a profile's thresholds differ, be it by a trifle.
        rising.append(max(threshold, math.nextafter(rising[-1], 2.0)) if rising else threshold)
    return DeferralProfile(tuple(rising), profile.fractions)


def _chance_of_at_most(num_hits: int, num_trials: int, share: float) -> float:
    """Return the binomial distribution function."""
    if share <= 0.0:
        return 1.0
    if share >= 1.0:
        return 0.0
    log_share, log_rest = math.log(share), math.log1p(-share)
    all_ways = math.lgamma(num_trials + 1)
    return sum(
        math.exp(
            all_ways
            - math.lgamma(hits + 1)
            - math.lgamma(num_trials - hits + 1)
            + hits * log_share
            + (num_trials - hits) * log_rest
        )
        for hits in range(num_hits + 1)
    )


def _nearest(known: Sequence[int], index: int) -> int:
    """Return the known bin next to one; of two equally near ones the lower."""
    return min(known, key=lambda other: (abs(other - index), other))
