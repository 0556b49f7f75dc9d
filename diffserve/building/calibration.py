"""Turns measurements of a cascade into the curves of a catalog. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffserve.building.pairs import PairedOutcomes, gain_of_deferring
from diffserve.profiles.curves import DeferralProfile, QualityCurve

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


def quality_curve(outcomes: PairedOutcomes, metric: str) -> QualityCurve:
    """Return the mean quality of answers when the least confident images are drawn again.

    Args:
        outcomes: What both variants drew.
        metric: What their quality means, for people.
    """
    gains = outcomes.heavy - outcomes.light
    gained = gain_of_deferring(outcomes.confidences, gains, _FRACTIONS)
    qualities = outcomes.light.mean() + gained
    return QualityCurve(_FRACTIONS, tuple(qualities.round(4).tolist()), metric)
