"""Distances between two sets of images, given as features: Fréchet's and the kernel one. Pure.

They are named after the features wherever they are shown: they are not the FID or KID of papers,
whose features are another network's, and compare with no published number. Both depend on the
number of images, the Fréchet distance strongly: compare at equal numbers only, next to the
distance between two sets of real ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]


def frechet_distance(first: Features, second: Features) -> float:
    """Return the Fréchet distance of two normal distributions fitted to features.

    ``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``; the last trace is the sum of the singular
    values of ``A B^T`` with ``C1 = A^T A`` and ``C2 = B^T B``, which needs no root of a matrix.

    Args:
        first: Shape (N, D), N at least 2.
        second: Shape (M, D), M at least 2.
    """
    spread_a, spread_b = _scaled_deviations(first), _scaled_deviations(second)
    shift = first.mean(axis=0) - second.mean(axis=0)
    shared = np.linalg.svd(spread_a @ spread_b.T, compute_uv=False).sum()
    return float(shift @ shift + (spread_a**2).sum() + (spread_b**2).sum() - 2 * shared)


def kernel_distance(first: Features, second: Features) -> float:
    """Return the unbiased squared MMD with the kernel ``(x.y / D + 1)^3``.

    It is near 0, and may be below, when both sets come from one distribution.

    Args:
        first: Shape (N, D), N at least 2.
        second: Shape (M, D), M at least 2.
    """
    within = _mean_off_diagonal(_kernel(first, first)) + _mean_off_diagonal(_kernel(second, second))
    return float(within - 2 * _kernel(first, second).mean())


def _scaled_deviations(features: Features) -> NDArray[np.float64]:
    deviations = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    scaled: NDArray[np.float64] = deviations / np.sqrt(len(features) - 1)
    if len(scaled) > scaled.shape[1]:
        # A triangle with the same products, whose decomposition is far quicker.
        scaled = np.linalg.qr(scaled).R
    return scaled


def _kernel(first: Features, second: Features) -> NDArray[np.float64]:
    products = first.astype(np.float64) @ second.astype(np.float64).T
    kernel: NDArray[np.float64] = (products / first.shape[1] + 1) ** 3
    return kernel


def _mean_off_diagonal(kernel: NDArray[np.float64]) -> float:
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))
