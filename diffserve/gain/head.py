"""The head of a discriminator: features of image and prompt to a confidence. Pure, no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffserve.gain.preference import Doubles, Embeddings
from diffserve.gain.ridge import Fit, features_of

SPREAD_MIN = 0.01
"""Predictions that differ by less are alike; the unit of gains is a chance of being preferred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GainHead:
    """A linear map from features of image and prompt to the gain of deferring.

    Attributes:
        weights: Shape (3 D + 1,), float32.
        intercept: Added to their sum.
        spread: By how much predictions differ from prompt to prompt; the unit of confidences.
    """

    weights: NDArray[np.float32]
    intercept: float
    spread: float

    @classmethod
    def of(cls, fit: Fit) -> GainHead:
        """Return a fitted head as it is saved and served."""
        return cls(
            weights=fit.weights.astype(np.float32),
            intercept=fit.intercept,
            spread=max(SPREAD_MIN, float(fit.left_out.std())),
        )

    def gains(self, images: Embeddings, texts: Embeddings) -> Doubles:
        """Return predicted gains, (N,), for embeddings of shape (N, D)."""
        features = features_of(images, texts)
        return np.asarray(features @ self.weights.astype(np.float64) + self.intercept)

    def confidences(self, images: Embeddings, texts: Embeddings) -> NDArray[np.float32]:
        """Return confidences in the images: 0.5 where nothing is gained, less where something is.

        Args:
            images: Embeddings, shape (N, D).
            texts: Of the prompts, shape (N, D).

        Returns:
            In [0, 1], shape (N,); they fall with the predicted gain.
        """
        falling = 0.5 * (1.0 - np.tanh(0.5 * self.gains(images, texts) / self.spread))
        return falling.astype(np.float32)
