"""Ridge regression of gains on image and text, in closed form. Pure, and without torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Doubles = NDArray[np.float64]

#: Penalties that are tried, as multiples of the mean variance along a direction; the largest first.
PENALTIES: tuple[float, ...] = (np.inf, *(10.0 ** (0.5 * step) for step in range(8, -7, -1)))
#: A block of unit vectors that varies less is constant but for rounding.
VARIANCE_MIN = 1e-8


def features_of(images: Floats, texts: Floats) -> Doubles:
    """Return what a head sees: the image, the text, their product and its sum, side by side.

    The sum is their cosine. It follows from the product, but a hundred prompts do not suffice to
    find that out among hundreds of features.

    Args:
        images: Embeddings, shape (N, D).
        texts: Of the prompts, shape (N, D).

    Returns:
        Shape (N, 3 D + 1).
    """
    image, text = images.astype(np.float64), texts.astype(np.float64)
    product = image * text
    return np.concatenate([image, text, product, product.sum(axis=1, keepdims=True)], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted head.

    Attributes:
        weights: Of the features, shape (3 D + 1,).
        intercept: Added to their sum.
        penalty: That was chosen; infinite: features do not help, and gains are their mean.
        left_out: What each training gain would be predicted to be by a head fitted to all others,
            shape (N,).
    """

    weights: Doubles
    intercept: float
    penalty: float
    left_out: Doubles


def fit(features: Floats, gains: Floats) -> Fit:
    """Fit gains with the penalty whose leave-one-out error is least.

    Leaving out one row has a closed form for a fixed penalty, so every penalty is tried on every
    row. Blocks of features are brought to equal variance first: unit vectors of hundreds of
    numbers have products a hundred times smaller than themselves.

    Args:
        features: Shape (N, 3 D + 1), see ``features_of``.
        gains: Shape (N,).

    Raises:
        ValueError: there are fewer than three rows, or shapes do not fit.
    """
    num_rows = len(gains)
    if features.ndim != 2 or len(features) != num_rows or num_rows < 3:
        raise ValueError(
            f"features (N, 3 D + 1) need a gain each, 3 at least; got shapes {features.shape} and "
            f"{gains.shape}"
        )
    means, mean_gain = features.mean(axis=0), float(gains.mean())
    scales = _scales(features)
    centred = (features - means) / scales
    # With fewer rows than features it is the rows' products that are few.
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values = values.clip(0.0)
    target = vectors.T @ (gains - mean_gain)
    best_error, best_penalty, left_out = np.inf, np.inf, np.zeros(num_rows)
    for penalty in _penalties(values):
        kept = values / (values + penalty)
        residuals = gains - mean_gain - vectors @ (kept * target)
        freedom = 1.0 - 1.0 / num_rows - (vectors**2) @ kept
        errors = residuals / freedom.clip(1e-9)
        error = float((errors**2).mean())
        if error < best_error:
            best_error, best_penalty, left_out = error, penalty, gains - errors
    weights = (centred.T @ (vectors @ (target / (values + best_penalty)))) / scales
    return Fit(
        weights=weights,
        intercept=mean_gain - float(means @ weights),
        penalty=best_penalty,
        left_out=np.asarray(left_out, dtype=np.float64),
    )


def _scales(features: Floats) -> Doubles:
    """Return what each feature is divided by: one number for each block, 1 where it is constant."""
    variances = features.var(axis=0)
    blocks = (*np.array_split(variances[:-1], 3), variances[-1:])
    totals = [float(block.sum()) for block in blocks]
    scales = [np.sqrt(total) if total > VARIANCE_MIN else 1.0 for total in totals]
    return np.concatenate([np.full(len(b), s) for b, s in zip(blocks, scales, strict=True)])


def _penalties(values: Doubles) -> list[float]:
    """Return the penalties to try, in the units of the rows' products."""
    mean = float(values.mean()) or 1.0
    return [penalty * mean for penalty in PENALTIES]
