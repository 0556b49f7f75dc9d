"""Streaming quantiles of recent confidences: a planned share becomes the current threshold."""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Iterable, Sequence

from diffserve.profiles.curves import DeferralProfile

NUM_PROFILE_SCORES = 512
"""Scores drawn from a deferral profile: enough for its shape, few enough to be outvoted soon."""

NUM_BORROWED_SCORES = 8
"""Scores of others that a sketch without a profile starts with. Among ``n`` scores of its own kind
a score finds its rank to 1 / (n + 1), however they are distributed, while those of others mislead
without bound: so the first images should not all rank the same, and borrowing should end there."""


class QuantileSketch:
    """Exact quantiles over a sliding window of the newest scores.

    Absolute thresholds drift and saturate (paper artifact: a single image's median confidence is
    0.001), so the plan is a percentile and this sketch translates. A window rather than an
    all-time sketch, so that a change of prompts or weights is forgotten after ``capacity`` scores.
    """

    def __init__(self, capacity: int, initial: Iterable[float] = ()) -> None:
        """Make a sketch of at most ``capacity`` scores, fed with ``initial``, oldest first."""
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self._recent: deque[float] = deque(maxlen=capacity)
        self._sorted: list[float] = []
        for score in initial:
            self.add(score)

    def __len__(self) -> int:
        """Return the number of scores in the window."""
        return len(self._recent)

    def add(self, score: float) -> None:
        """Add one score in [0, 1]; the oldest leaves when the window is full."""
        if not 0.0 <= score <= 1.0:
            raise ValueError(f"score {score} is outside 0..1")
        if len(self._recent) == self._recent.maxlen:
            del self._sorted[bisect.bisect_left(self._sorted, self._recent[0])]
        self._recent.append(score)
        bisect.insort(self._sorted, score)

    def percentile(self, score: float) -> float:
        """Return the share of the window below ``score``, ties counted half; 0.5 when empty."""
        if not self._sorted:
            return 0.5
        below = bisect.bisect_left(self._sorted, score)
        ties = bisect.bisect_right(self._sorted, score) - below
        return (below + 0.5 * ties) / len(self._sorted)

    def threshold(self, fraction: float) -> float:
        """Return the confidence below which ``fraction`` of the window lies."""
        if not self._sorted or fraction <= 0.0:
            return 0.0
        if fraction >= 1.0:
            return 1.0
        return self._sorted[min(math.ceil(fraction * len(self._sorted)), len(self._sorted) - 1)]

    def quantiles(self, count: int) -> tuple[float, ...]:
        """Return ``count`` evenly spaced scores of the window, ascending; all if it has fewer."""
        size = len(self._sorted)
        count = min(count, size)
        return tuple(self._sorted[int((index + 0.5) * size / count)] for index in range(count))

    def forget(self, num_kept: int) -> None:
        """Forget all but the newest scores: the older ones say nothing of those to come."""
        kept = list(self._recent)[-num_kept:]
        self._recent.clear()
        self._recent.extend(kept)
        self._sorted = sorted(kept)

    def scores(self) -> tuple[float, ...]:
        """Return the window, oldest first."""
        return tuple(self._recent)


def representative_scores(profile: DeferralProfile, count: int) -> tuple[float, ...]:
    """Return ``count`` scores distributed as a deferral profile says, for a sketch without data.

    They come in an order of which every stretch is spread over the whole range: as real scores
    push the oldest out of the window, what is left of the profile keeps its shape.
    """
    points = _points(profile)
    return scattered([_score_at((index + 0.5) / count, points) for index in range(count)])


def scattered(ascending: Sequence[float]) -> tuple[float, ...]:
    """Return scores in an order of which every stretch is spread over the whole range."""
    count = len(ascending)
    stride = round(count * (math.sqrt(5.0) - 1.0) / 2.0)
    while math.gcd(stride, count) != 1:
        stride += 1
    return tuple(ascending[index * stride % count] for index in range(count))


def score_of_rank(profile: DeferralProfile, rank: float) -> float:
    """Return the score below which a share ``rank`` in [0, 1] of all lies, by the profile."""
    return _score_at(rank, _points(profile))


def profile_sketch(profile: DeferralProfile, capacity: int) -> QuantileSketch:
    """Return a sketch that knows nothing but a deferral profile."""
    count = min(capacity, NUM_PROFILE_SCORES)
    return QuantileSketch(capacity, representative_scores(profile, count))


def newcomer_sketch(others: Iterable[QuantileSketch], capacity: int) -> QuantileSketch:
    """Return a sketch that knows nothing but what scores of other kinds are like.

    It starts with a few scores from all over their range, each of the others counting the same,
    and with none if there are none. They are outvoted after as many of its own.

    Args:
        others: Of other variants' images, scored by the same discriminator.
        capacity: Scores that it can hold.
    """
    shares = [(index + 0.5) / NUM_BORROWED_SCORES for index in range(NUM_BORROWED_SCORES)]
    known = sorted(sketch.threshold(share) for sketch in others if len(sketch) for share in shares)
    borrowed = [known[int(share * len(known))] for share in shares] if known else []
    return QuantileSketch(capacity, borrowed)


def _points(profile: DeferralProfile) -> list[tuple[float, float]]:
    """Return (fraction, threshold) pairs from (0, 0) to (1, 1)."""
    return [(0.0, 0.0), *zip(profile.fractions, profile.thresholds, strict=True), (1.0, 1.0)]


def _score_at(fraction: float, points: Sequence[tuple[float, float]]) -> float:
    """Return the score below which ``fraction`` lies, linear between (fraction, score) points."""
    right = bisect.bisect_left(points, (fraction, 0.0))
    (low, start), (high, end) = points[right - 1], points[right]
    return start + (end - start) * (fraction - low) / (high - low)
