"""Turns measurements of the embedded models into the curves of a catalog."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from diffserve.embedded.pairs import gain_of_deferring
from diffserve.embedded.presets import HEAVY, LIGHT, MEDIUM, TINY
from diffserve.profiles.curves import DeferralProfile, QualityCurve

BATCH_SIZES: Mapping[str, Sequence[int]] = {
    TINY.name: (1, 2, 4, 8, 16),
    LIGHT.name: (1, 2, 4, 8, 16),
    MEDIUM.name: (1, 2, 4, 8),
    HEAVY.name: (1, 2, 4),
}
SLO_S = 10.0
_STEP = 1e-6
_FRACTIONS = tuple(round(0.05 * step, 2) for step in range(21))


def deferral_profile(confidences: NDArray[np.float32]) -> DeferralProfile:
    """Return f(t) from the confidences of light images, shape (N,). Paper: §3.2.

    Every fraction of the grid gets a threshold of its own, also where confidences saturate: plans
    are made in fractions, and thresholds are there for people.
    """
    thresholds = np.round(np.quantile(confidences, _FRACTIONS).astype(float), 6)
    thresholds[0], thresholds[-1] = 0.0, 1.0
    last = len(thresholds) - 1
    for index in range(1, last):
        thresholds[index] = max(thresholds[index], thresholds[index - 1] + _STEP)
    for index in reversed(range(1, last)):
        thresholds[index] = min(thresholds[index], thresholds[index + 1] - _STEP)
    return DeferralProfile(tuple(thresholds.round(6).tolist()), _FRACTIONS)


def quality_curve(
    confidences: NDArray[np.float32],
    light_right: NDArray[np.bool_],
    heavy_right: NDArray[np.bool_],
    metric: str,
) -> QualityCurve:
    """Return the share of right answers when the least confident images are drawn again.

    Args:
        confidences: Of the light images, shape (N,).
        light_right: Whether each light image shows what was asked for, shape (N,).
        heavy_right: The same of the heavy image of the same prompt, shape (N,).
        metric: What "right" means, for people.
    """
    gains = heavy_right.astype(float) - light_right.astype(float)
    qualities = light_right.mean() + gain_of_deferring(confidences, gains, _FRACTIONS)
    return QualityCurve(_FRACTIONS, tuple(qualities.round(4).tolist()), metric)
