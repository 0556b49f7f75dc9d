from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffserve.errors import ProfileError
from diffserve.profiles.curves import QualityCurve
from diffserve.profiles.gains import GainCurve

HUMP = QualityCurve((0.0, 0.2, 0.4, 0.6, 1.0), (0.0, 6.0, 10.0, 12.0, 8.0), "q")


def test_a_gain_is_the_slope_in_the_middle_of_each_stretch() -> None:
    curve = GainCurve.of(HUMP)
    assert curve.share_at(30.0) == pytest.approx(0.1)
    assert curve.share_at(20.0) == pytest.approx(0.3)
    assert curve.share_at(15.0) == pytest.approx(0.4)


def test_what_costs_nothing_is_deferred_up_to_the_best_share_and_no_further() -> None:
    curve = GainCurve.of(HUMP)
    assert curve.share_at(0.0) == 0.6
    assert curve.share_at(1000.0) == 0.0


def test_weight_scales_gains() -> None:
    assert GainCurve.of(HUMP, 2.0).share_at(40.0) == GainCurve.of(HUMP).share_at(20.0)


def test_a_dent_in_a_table_is_bridged() -> None:
    dented = QualityCurve((0.0, 0.2, 0.4, 1.0), (0.0, 1.0, 4.0, 5.0), "q")
    assert GainCurve.of(dented).ranks == pytest.approx((0.0, 0.2, 0.7, 1.0))


def test_a_straight_curve_defers_all_or_nothing() -> None:
    curve = GainCurve.of(QualityCurve((0.0, 1.0), (0.0, 1.0), "q"))
    assert curve.share_at(0.999) == 1.0
    assert curve.share_at(1.001) == 0.0


def test_where_the_light_variant_is_best_nothing_gains() -> None:
    curve = GainCurve.of(QualityCurve((0.0, 1.0), (1.0, 0.0), "q"))
    assert curve.share_at(0.0) == 0.0


@given(st.lists(st.floats(-50.0, 50.0), min_size=2, max_size=12))
def test_any_table_has_a_gain_curve(qualities: list[float]) -> None:
    fractions = tuple(i / (len(qualities) - 1) for i in range(len(qualities)))
    curve = QualityCurve(fractions, tuple(round(q, 2) for q in qualities), "q")
    gains = GainCurve.of(curve)
    assert gains.share_at(0.0) == curve.best_fraction
    prices = [0.0, 0.5, 1.0, 5.0, 50.0, 500.0]
    shares = [gains.share_at(price) for price in prices]
    assert all(b <= a for a, b in itertools.pairwise(shares))


def test_nonsense_is_refused() -> None:
    for ranks, gains in (((0.0,), (1.0, 0.0)), ((0.0, 0.0), (1.0, 0.0)), ((0.0, 1.0), (0.0, 1.0))):
        with pytest.raises(ProfileError):
            GainCurve(ranks, gains)


def test_a_curve_that_is_straight_but_for_rounding_has_gains() -> None:
    """Measured by `diffserve cascade build` on sixty prompts; its load balancers did not start."""
    fractions = tuple(round(0.05 * step, 2) for step in range(21))
    tail = (0.85, 0.8667, 0.9, 0.95, 0.95)
    qualities = (
        *(0.1833, 0.2333, 0.2833, 0.3333, 0.3833, 0.4333, 0.4833, 0.5167),
        *(0.55, 0.6, 0.6333, 0.6667, 0.7, 0.75, 0.7833, 0.8167, *tail),
    )
    gains = GainCurve.of(QualityCurve(fractions, qualities, "made up"))
    assert gains.ranks[-1] == pytest.approx(0.95)
    assert gains.share_at(0.5) == pytest.approx(0.95)
    assert gains.share_at(2.0) == 0.0


@pytest.mark.parametrize("step", [0.05, 0.1, 1 / 3, 0.01])
@pytest.mark.parametrize("slope", [1e-6, 0.1, 0.7, 3.0, 1e4])
def test_straight_curves_of_any_slope_have_gains(step: float, slope: float) -> None:
    fractions = tuple(index * step for index in range(round(1 / step) + 1))
    qualities = tuple(0.1 + slope * fraction for fraction in fractions)
    gains = GainCurve.of(QualityCurve(fractions, qualities, "made up"))
    assert gains.share_at(0.5 * slope) == pytest.approx(1.0)
    assert gains.share_at(1.5 * slope) == 0.0
