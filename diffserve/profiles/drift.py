"""Notices that confidences are no longer distributed as when the cascade was measured.

Deferral is by rank, so the share deferred is held through any drift by construction, as soon as
the sketch has forgotten the older scores; the alarm makes it forget them at once. What drift puts
in doubt is the quality curve: it was measured with images that scored differently.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from diffserve.profiles.curves import DeferralProfile
from diffserve.profiles.sketch import NUM_PROFILE_SCORES, representative_scores, score_of_rank

PSI_ALARM = 0.2
"""Population stability index above which a distribution counts as changed (common practice)."""
PSI_CALM = 0.1
"""The alarm ends below this: stable, by the same practice."""
P_VALUE_ALARM = 0.01
NUM_BINS = 10
"""Of the index: tenths of the reference."""
SHARE_MIN = 1e-3
"""An empty bin counts as this share, as its logarithm must be finite."""
WINDOW = 256
"""Newest scores compared. Without drift the index is then 0.035 on average, 0.02 of it spread."""
NUM_FRESH = 128
"""Scores that a sketch keeps when the alarm goes on or off: mostly drawn since the change."""
EVERY = 16
"""Scores between two comparisons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far recent confidences are from the reference.

    Attributes:
        psi: Population stability index, at least 0.
        ks: Kolmogorov-Smirnov distance, 0..1: by how much an absolute threshold would miss its
            share, at worst.
        ks_p_value: Chance of such a distance without drift.
        num_samples: Scores seen since the start, up to the window's length; the window's rest
            repeats the reference.
        is_alarm: The distribution has changed.
        since_s: When that became so, or ceased to be; by the clock of who watches.
    """

    psi: float
    ks: float
    ks_p_value: float
    num_samples: int
    is_alarm: bool
    since_s: float


class DriftMonitor:
    """Compares a sliding window of confidences with a deferral profile, now and then.

    The alarm needs both measures: the index says that the change is large, the test that it is
    no chance. Scores that pile up within one bin, as rounding makes them, move only the test.
    """

    def __init__(self, profile: DeferralProfile, window: int = WINDOW) -> None:
        """Start calm, as if the newest scores had been the profile's own."""
        self._profile = profile
        self._edges = _bin_edges(profile)
        self._recent: deque[float] = deque(representative_scores(profile, window), maxlen=window)
        self._num_seen = 0
        self.drift = Drift(
            psi=0.0, ks=0.0, ks_p_value=1.0, num_samples=0, is_alarm=False, since_s=0.0
        )

    def observe(self, score: float, now_s: float) -> bool:
        """Take in one score, 0..1; return whether the alarm went on or off with it."""
        self._recent.append(score)
        self._num_seen += 1
        if self._num_seen % EVERY:
            return False
        before = self.drift
        self.drift = self._compare(before, now_s)
        return self.drift.is_alarm is not before.is_alarm

    def resume(self, scores: Iterable[float], now_s: float) -> None:
        """Take in what an earlier process saw, oldest first."""
        for score in list(scores)[-(self._recent.maxlen or 0) :]:
            self.observe(score, now_s)

    def _compare(self, before: Drift, now_s: float) -> Drift:
        scores = sorted(self._recent)
        psi = stability_index(scores, self._profile, self._edges)
        ks = ks_distance(scores, self._profile)
        count = len(scores)
        effective = count * NUM_PROFILE_SCORES / (count + NUM_PROFILE_SCORES)
        p_value = ks_p_value(ks, effective)
        if before.is_alarm:
            is_alarm = psi >= PSI_CALM
        else:
            is_alarm = psi > PSI_ALARM and p_value < P_VALUE_ALARM
        return Drift(
            psi=psi,
            ks=ks,
            ks_p_value=p_value,
            num_samples=min(self._num_seen, count),
            is_alarm=is_alarm,
            since_s=before.since_s if is_alarm is before.is_alarm else now_s,
        )


def stability_index(
    scores: Sequence[float], profile: DeferralProfile, edges: Sequence[float]
) -> float:
    """Return the population stability index, sum over bins of (p - q) ln(p / q). Pure.

    Args:
        scores: Ascending, at least one.
        profile: The reference.
        edges: Between the bins, ascending, without the outer ones.
    """
    total, start, expected_before = 0.0, 0, 0.0
    for edge in (*edges, math.inf):
        end = start
        while end < len(scores) and scores[end] < edge:
            end += 1
        expected_to = _share_below(profile, edge)
        expected = max(SHARE_MIN, expected_to - expected_before)
        actual = max(SHARE_MIN, (end - start) / len(scores))
        total += (actual - expected) * math.log(actual / expected)
        start, expected_before = end, expected_to
    return total


def ks_distance(scores: Sequence[float], profile: DeferralProfile) -> float:
    """Return the largest distance between the cumulative shares of scores and profile. Pure.

    Args:
        scores: Ascending, at least one.
        profile: The reference.
    """
    count = len(scores)
    distance = 0.0
    for index, score in enumerate(scores):
        share = _share_below(profile, score)
        distance = max(distance, share - index / count, (index + 1) / count - share)
    return distance


def ks_p_value(distance: float, effective: float) -> float:
    """Return the chance of at least such a distance between samples of one distribution. Pure.

    Kolmogorov's limit with Stephens's correction (J. R. Stat. Soc. B 32, 1970), good from about
    ten samples on.

    Args:
        distance: Kolmogorov-Smirnov distance, 0..1.
        effective: n m / (n + m) for samples of n and m.
    """
    root = math.sqrt(effective)
    x = (root + 0.12 + 0.11 / root) * distance
    if x < 0.3:
        return 1.0  # the series converges slowly there, to 1
    series = sum((-1.0) ** (k - 1) * math.exp(-2.0 * (k * x) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2.0 * series))


def _bin_edges(profile: DeferralProfile) -> tuple[float, ...]:
    """Return the scores that divide the reference into bins of about equal shares."""
    scores = [score_of_rank(profile, index / NUM_BINS) for index in range(1, NUM_BINS)]
    return tuple(
        score for before, score in pairwise([0.0, *scores]) if score > before and score < 1.0
    )


def _share_below(profile: DeferralProfile, score: float) -> float:
    """Return the reference's share below a score: the inverse of ``score_of_rank``."""
    first, last = profile.thresholds[0], profile.thresholds[-1]
    if score >= 1.0:
        return 1.0
    if score < first:
        return profile.fractions[0] * score / first
    if score > last:
        top = profile.fractions[-1]
        return top + (1.0 - top) * (score - last) / (1.0 - last)
    return profile.fraction_at(score)


def drift_sentence(psi: float) -> str:
    """Return what an alarm means, for people."""
    return (
        f"confidences have drifted (PSI {psi:.2f}): the share deferred is held, but the quality "
        "curve may no longer apply"
    )
