"""Confidences of light images: drawn from the cascade's profile, ranked by the live sketch."""

from __future__ import annotations

import numpy as np

from diffserve.profiles.curves import DeferralProfile
from diffserve.profiles.sketch import QuantileSketch, representative_scores

_NUM_SCORES = 4096
_CHUNK = 4096


class Confidences:
    """Draws one confidence per query, in the order of arrival: the same for every policy.

    ``percentile`` is what the discriminator service does with it: rank among recent scores, then
    remember.
    """

    def __init__(
        self,
        profile: DeferralProfile,
        sketch_size: int,
        generator: np.random.Generator,
        *,
        is_query_aware: bool = True,
    ) -> None:
        """Make a source of confidences distributed as ``profile`` says.

        Args:
            profile: Of the cascade.
            sketch_size: Recent confidences kept.
            generator: Consumed once per query.
            is_query_aware: False replaces ranks by what the draw alone says, for random routing.
        """
        self._scores = sorted(representative_scores(profile, _NUM_SCORES))
        self._sketch = QuantileSketch(sketch_size, representative_scores(profile, sketch_size))
        self._generator = generator
        self._chunk: list[float] = []
        self._is_query_aware = is_query_aware

    def draw(self, prompt_id: int) -> float:
        """Return the rank of the next query's light image, 0..1, uniform."""
        del prompt_id  # identity of prompts matters only with paired score tables
        if not self._chunk:
            self._chunk = self._generator.random(_CHUNK).tolist()
        return self._chunk.pop()

    def percentile(self, rank: float) -> float:
        """Return what the discriminator service would say of an image of this rank."""
        if not self._is_query_aware:
            return rank
        score = self._scores[int(rank * _NUM_SCORES)]
        percentile = self._sketch.percentile(score)
        self._sketch.add(score)
        return percentile
