"""A scorer without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class MockScorer:
    """Confidence is a hash of prompt and pixels: uniform in [0, 1], the same every time."""

    def score(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return confidences, (batch,)."""
        return np.array(
            [_uniform(image, prompt) for image, prompt in zip(images, prompts, strict=True)],
            dtype=np.float32,
        )


def _uniform(image: NDArray[np.uint8], prompt: str) -> float:
    digest = hashlib.sha256(prompt.encode() + b"\0" + image.tobytes()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
