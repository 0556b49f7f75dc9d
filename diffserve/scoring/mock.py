"""A scorer without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from diffserve.profiles.curves import DeferralProfile
from diffserve.profiles.sketch import score_of_rank


class MockScorer:
    """Confidence is a hash of prompt and pixels, the same every time.

    Its distribution is the one that the catalog gives for the cascade of the light variant: the
    sketch starts with that too, so ranks are even from the first image on.
    """

    def __init__(self, profile: DeferralProfile | None = None) -> None:
        """Give confidences as ``profile`` says; without one, evenly spread ones."""
        self._profile = profile

    def score(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return confidences, (batch,)."""
        return np.array(
            [
                self._confidence(_uniform(image, prompt))
                for image, prompt in zip(images, prompts, strict=True)
            ],
            dtype=np.float32,
        )

    def _confidence(self, rank: float) -> float:
        return score_of_rank(self._profile, rank) if self._profile else rank


def _uniform(image: NDArray[np.uint8], prompt: str) -> float:
    digest = hashlib.sha256(prompt.encode() + b"\0" + image.tobytes()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
