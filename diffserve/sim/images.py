"""Confidences of light images: drawn from the cascade's profile, ranked by the live sketch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffserve.profiles.curves import DeferralProfile
from diffserve.profiles.drift import NUM_FRESH
from diffserve.profiles.sketch import profile_sketch, representative_scores
from diffserve.sim.drift import DriftWatch, shifted
from diffserve.sim.faults import ConfidenceShift

_NUM_SCORES = 4096
_CHUNK = 4096


class Confidences:
    """Draws one confidence per query, in the order of arrival: the same for every policy.

    ``percentile`` is what the discriminator service does with it: rank among recent scores, then
    remember.

    Attributes:
        watch: Notices drift.
    """

    def __init__(
        self,
        profile: DeferralProfile,
        sketch_size: int,
        generator: np.random.Generator,
        *,
        is_query_aware: bool = True,
        shifts: Sequence[ConfidenceShift] = (),
    ) -> None:
        """Make a source of confidences distributed as ``profile`` says.

        Args:
            profile: Of the cascade.
            sketch_size: Recent confidences kept.
            generator: Consumed once per query.
            is_query_aware: False replaces ranks by what the draw alone says, for random routing.
            shifts: How confidences drift.
        """
        self._scores = sorted(representative_scores(profile, _NUM_SCORES))
        self._sketch = profile_sketch(profile, sketch_size)
        self._generator = generator
        self._chunk: list[float] = []
        self._is_query_aware = is_query_aware
        self._shifts = shifts
        self.watch = DriftWatch(profile, shifts)

    def draw(self, prompt_id: int) -> float:
        """Return the rank of the next query's light image, 0..1, uniform."""
        del prompt_id  # identity of prompts matters only with paired score tables
        if not self._chunk:
            self._chunk = self._generator.random(_CHUNK).tolist()
        return self._chunk.pop()

    def percentile(self, rank: float, now_s: float = 0.0) -> float:
        """Return what the discriminator service would say of an image of this rank."""
        if not self._is_query_aware:
            return rank
        score = self._scores[int(rank * _NUM_SCORES)]
        if self._shifts:
            score = shifted(score, self._shifts, now_s)
        percentile = self._sketch.percentile(score)
        self._sketch.add(score)
        if self.watch.observe(score, percentile, now_s):
            self._sketch.forget(NUM_FRESH)
        return percentile


class Difficulties:
    """Draws one rank of difficulty per prompt, from a stream of its own.

    Bypass tables were measured on real prompts, so that what a rank tells about the image is in
    them; here ranks only decide which queries bypass the light variant.
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._chunk: list[float] = []

    def draw(self) -> float:
        """Return the rank of the next query's prompt, 0..1, uniform."""
        if not self._chunk:
            self._chunk = self._generator.random(_CHUNK).tolist()
        return self._chunk.pop()
