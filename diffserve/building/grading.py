"""Grading discriminators: how well confidences in light images tell where the heavy model helps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffserve.building.pairs import Floats, gain_of_deferring


def auroc(confidences: NDArray[np.float32], verdicts: NDArray[np.bool_]) -> float:
    """Return the chance that a right image has a higher confidence than a wrong one.

    Ties count half. NaN when all verdicts are equal.
    """
    right, wrong = confidences[verdicts][:, None], confidences[~verdicts][None, :]
    if right.size == 0 or wrong.size == 0:
        return float("nan")
    return float((right > wrong).mean() + 0.5 * (right == wrong).mean())


def gain_share(confidences: Floats, light: Floats, heavy: Floats, fraction: float) -> float:
    """Return how much of the oracle router's gain over random routing confidences capture.

    Args:
        confidences: Of the light images, shape (N,); the lowest are deferred.
        light: Quality of each light image, e.g. 1 where it is right and 0 elsewhere; shape (N,).
        heavy: The same of the heavy image of the same prompt, shape (N,).
        fraction: Share of the images that is deferred.

    Returns:
        1 for the oracle, which defers where heavy gains most, and 0 for random routing; NaN when
        there is nothing to gain.
    """
    gains = heavy - light
    orders = (confidences, -gains, np.zeros(len(gains)))
    chosen, best, by_chance = (
        float(gain_of_deferring(order, gains, (fraction,))[0]) for order in orders
    )
    return (chosen - by_chance) / (best - by_chance) if best > by_chance else float("nan")
