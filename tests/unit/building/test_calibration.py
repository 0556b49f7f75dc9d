"""From measurements to the curves and the catalog that the planner uses."""

from __future__ import annotations

import numpy as np
import pytest

from diffserve.building import calibration
from diffserve.building.pairs import PairedOutcomes


def outcomes(light: list[float], heavy: list[float]) -> PairedOutcomes:
    return PairedOutcomes(
        light=np.array(light, float),
        heavy=np.array(heavy, float),
        confidences=np.array([0.9, 0.1, 0.8, 0.2], np.float32),
        light_s=0.1,
        heavy_s=1.0,
        scoring_s=0.0,
    )


def test_quality_curve_defers_the_least_confident_first() -> None:
    curve = calibration.quality_curve(outcomes([1, 0, 1, 0], [0, 1, 1, 1]), "right")
    assert curve.quality_at(0.0) == 0.5
    assert curve.quality_at(0.5) == 1.0
    assert curve.quality_at(1.0) == 0.75
    assert curve.best_fraction == 0.5


def test_qualities_may_be_any_numbers_and_deferring_may_cost_some() -> None:
    curve = calibration.quality_curve(outcomes([0.5, 0.1, 0.6, 0.4], [0.5] * 4), "preferred")
    assert curve.quality_at(0.0) == 0.4
    assert curve.quality_at(0.25) == 0.5
    assert curve.quality_at(0.5) == 0.525
    assert curve.quality_at(1.0) == 0.5
    assert curve.best_fraction == 0.5


@pytest.mark.parametrize("saturated", [0.0, 1.0])
def test_deferral_profile_has_every_fraction_even_where_scores_saturate(saturated: float) -> None:
    scores = np.concatenate([np.full(50, saturated), np.linspace(0, 1, 50)]).astype(np.float32)
    profile = calibration.deferral_profile(scores)
    assert profile.fractions == tuple(round(0.05 * step, 2) for step in range(21))
    middle = 0.75 if saturated == 0.0 else 0.25
    assert profile.fraction_at(0.5) == pytest.approx(middle, abs=0.05)
