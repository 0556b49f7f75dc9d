"""Images judged by how likely they would be preferred to the best variant's. Pure, no torch.

A preference model of CLIP's kind scores an image by ``scale * cosine(image, prompt)``, and prefers
one of two images with the softmax of their scores (PickScore: arXiv 2305.01569). Means of such
scores lie close together, so that a share of them says nothing; chances do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Embeddings = NDArray[np.float32]


def similarities(images: Embeddings, texts: Embeddings) -> Doubles:
    """Return the cosine of each image and the text of the same row, both unit vectors; (N,)."""
    products = images.astype(np.float64) * texts.astype(np.float64)
    return np.asarray(products.sum(axis=1), dtype=np.float64)


def scores_of(images: Embeddings, texts: Embeddings, scale: float) -> Doubles:
    """Return the score of each image for the prompt of the same row, both unit vectors; (N,)."""
    return scale * similarities(images, texts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What a judge says of every variant's images of the same prompts.

    Attributes:
        best: The variant of the highest mean score.
        scores: By variant, shape (N,) each.
        qualities: By variant, the chance of each image to be preferred to the best variant's of
            the same prompt: 0.5 where they are equally good, and so for the best one itself.
    """

    best: str
    scores: Mapping[str, Doubles]
    qualities: Mapping[str, Doubles]


def preferences(scores: Mapping[str, Doubles]) -> Preferences:
    """Compare every image with the best variant's of the same prompt.

    Args:
        scores: By variant, shape (N,) each; of variants with equal means the first is the best.
    """
    best = max(scores, key=lambda variant: float(scores[variant].mean()))
    return Preferences(
        best=best,
        scores=scores,
        qualities={variant: _chance(own - scores[best]) for variant, own in scores.items()},
    )


def _chance(lead: Doubles) -> Doubles:
    """Return the logistic function, which cannot overflow when written with tanh."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * lead)), dtype=np.float64)
