from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffserve.errors import ProfileError
from diffserve.profiles.curves import DeferralProfile, QualityCurve

DEFERRAL = DeferralProfile((0.0, 0.5, 0.75, 1.0), (0.0, 0.4, 0.4, 1.0))
QUALITY = QualityCurve((0.0, 0.5, 1.0), (1.0, 3.0, 2.0), "test")


def test_deferral_fraction_is_interpolated_and_clamped():
    assert DEFERRAL.fraction_at(0.25) == pytest.approx(0.2)
    assert DEFERRAL.fraction_at(-1.0) == 0.0
    assert DEFERRAL.fraction_at(2.0) == 1.0


def test_threshold_for_is_the_largest_that_defers_no_more():
    assert DEFERRAL.threshold_for(0.4) == 0.75
    assert DEFERRAL.threshold_for(0.39) == 0.0
    assert DEFERRAL.threshold_for(1.0) == 1.0
    assert DEFERRAL.threshold_for(0.0) == 0.0


@settings(max_examples=50, deadline=None)
@given(st.floats(0.0, 1.0))
def test_threshold_for_never_defers_more_than_asked(fraction):
    threshold = DEFERRAL.threshold_for(fraction)
    assert DEFERRAL.fraction_at(threshold) <= fraction + 1e-9


def test_quality_is_interpolated():
    assert QUALITY.quality_at(0.25) == pytest.approx(2.0)
    assert QUALITY.quality_at(0.75) == pytest.approx(2.5)


def test_best_fraction_is_the_smallest_of_the_best():
    assert QUALITY.best_fraction == 0.5
    flat = QualityCurve((0.0, 0.5, 1.0), (1.0, 3.0, 3.0), "test")
    assert flat.best_fraction == 0.5


@pytest.mark.parametrize(
    ("thresholds", "fractions"),
    [
        ((0.0, 1.0), (0.0,)),
        ((0.0,), (0.0,)),
        ((0.0, 0.0), (0.0, 1.0)),
        ((0.0, 1.0), (1.0, 0.0)),
        ((0.0, float("nan")), (0.0, 1.0)),
    ],
)
def test_bad_deferral_profiles_are_refused(thresholds, fractions):
    with pytest.raises(ProfileError):
        DeferralProfile(thresholds, fractions)


@pytest.mark.parametrize(
    ("fractions", "qualities"),
    [
        ((0.0, 1.0), (0.0,)),
        ((0.1, 1.0), (0.0, 1.0)),
        ((0.0, 0.9), (0.0, 1.0)),
        ((0.0, 0.0, 1.0), (0.0, 1.0, 2.0)),
        ((0.0, 1.0), (0.0, float("inf"))),
    ],
)
def test_bad_quality_curves_are_refused(fractions, qualities):
    with pytest.raises(ProfileError):
        QualityCurve(fractions, qualities, "test")


@pytest.mark.parametrize(("limit", "best"), [(0.0, 0.0), (0.25, 0.25), (0.5, 0.5), (0.75, 0.5)])
def test_a_curve_gains_nothing_beyond_a_limit(limit: float, best: float) -> None:
    flat = QUALITY.flat_beyond(limit)
    assert flat.best_fraction == best
    assert flat.quality_at(limit / 2.0) == pytest.approx(QUALITY.quality_at(limit / 2.0))
    assert flat.quality_at(limit) == flat.quality_at(1.0) == QUALITY.quality_at(limit)
    assert QUALITY.flat_beyond(1.0) is QUALITY
