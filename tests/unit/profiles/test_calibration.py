"""Gains are fitted without bias by what was deferred, and the bound on bad accepts is exact."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffserve.profiles.calibration import (
    NUM_BINS,
    NUM_PER_BIN,
    GainCalibration,
    ScoredPair,
    fit_falling,
    recalibrated,
    share_upper_bound,
)
from diffserve.profiles.curves import DeferralProfile


def pair(rank: float, gain: float, *, is_shadow: bool = False) -> ScoredPair:
    return ScoredPair(rank=rank, light=0.5, heavy=0.5 + gain, is_shadow=is_shadow)


def test_violators_are_pooled() -> None:
    assert fit_falling([3.0, 1.0, 2.0, 0.0], [1.0] * 4) == [3.0, 1.5, 1.5, 0.0]
    assert fit_falling([0.0, 3.0], [1.0, 2.0]) == [2.0, 2.0]
    assert fit_falling([], []) == []


@given(st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=12))
def test_the_fit_falls_and_keeps_the_mean(values: list[float]) -> None:
    fitted = fit_falling(values, [1.0] * len(values))
    assert len(fitted) == len(values)
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(fitted))
    assert sum(fitted) == pytest.approx(sum(values), abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.integers(-2, 2), min_size=2, max_size=3))
def test_no_falling_sequence_is_closer(values: list[int]) -> None:
    fitted = fit_falling([float(v) for v in values], [1.0] * len(values))
    error = sum((a - b) ** 2 for a, b in zip(fitted, values, strict=True))
    grid = np.arange(-2.0, 2.01, 0.5)
    for other in itertools.product(grid, repeat=len(values)):
        if all(a >= b for a, b in itertools.pairwise(other)):
            distance = sum((a - b) ** 2 for a, b in zip(other, values, strict=True))
            assert error <= distance + 1e-9


def test_without_pairs_nothing_is_known() -> None:
    calibration = GainCalibration()
    assert calibration.fit() is None
    assert calibration.bad_accepts().share_max == 1.0


def test_rarely_deferred_ranks_count_as_much_as_others() -> None:
    """The gain falls from 0.5 to -0.1; high ranks leave pairs only one time in fifty."""
    generator = np.random.default_rng(0)
    calibration = GainCalibration()
    for rank in generator.random(20_000).tolist():
        is_shadow = rank >= 0.4
        if is_shadow and generator.random() > 0.02:
            continue
        noise = float(generator.normal(0.0, 0.05))
        calibration.add(pair(rank, 0.5 - 0.6 * rank + noise, is_shadow=is_shadow))
    curve = calibration.fit()
    assert curve is not None
    assert curve.is_complete
    for index, gain in enumerate(curve.gains):
        assert gain == pytest.approx(0.5 - 0.6 * (index + 0.5) / NUM_BINS, abs=0.05)
    quality = curve.quality_curve(0.5)
    assert quality.quality_at(0.0) == 0.5
    assert quality.quality_at(0.4) == pytest.approx(0.5 + 0.4 * 0.5 - 0.3 * 0.16, abs=0.01)
    assert quality.quality_at(1.0) == pytest.approx(0.5 + 0.5 - 0.3, abs=0.03)
    assert quality.best_fraction == pytest.approx(0.85, abs=0.11)


def test_unknown_ranks_take_the_nearest_and_say_so() -> None:
    calibration = GainCalibration()
    calibration.add(pair(0.01, 0.3))
    calibration.add(pair(0.99, 0.1))
    curve = calibration.fit()
    assert curve is not None
    assert not curve.is_complete
    assert curve.gains == pytest.approx([0.3] * 10 + [0.1] * 10)
    assert curve.num_pairs == 2


def test_old_pairs_are_forgotten() -> None:
    calibration = GainCalibration()
    for _ in range(NUM_PER_BIN):
        calibration.add(pair(1.0, -1.0))
    for _ in range(NUM_PER_BIN):
        calibration.add(pair(1.0, 0.25))
    curve = calibration.fit()
    assert curve is not None
    assert curve.gains[-1] == pytest.approx(0.25)


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (0, 59), (1, 10), (5, 50), (30, 1024)])
def test_the_bound_is_where_so_few_hits_are_just_likely_enough(hits: int, trials: int) -> None:
    p = share_upper_bound(hits, trials, 0.95)
    terms = (math.comb(trials, k) * p**k * (1.0 - p) ** (trials - k) for k in range(hits + 1))
    assert sum(terms) == pytest.approx(0.05, rel=1e-6)


def test_the_bound_without_hits_is_known() -> None:
    """Rule of three: about 3 / n."""
    assert share_upper_bound(0, 300, 0.95) == pytest.approx(1.0 - 0.05 ** (1.0 / 300.0))
    assert share_upper_bound(3, 3, 0.95) == 1.0
    assert share_upper_bound(0, 0, 0.95) == 1.0


def test_bad_accepts_are_counted_among_shadows_only() -> None:
    calibration = GainCalibration()
    for _ in range(59):
        calibration.add(pair(0.9, 0.05, is_shadow=True))
    calibration.add(pair(0.1, 0.9))
    found = calibration.bad_accepts()
    assert (found.num_shadows, found.num_bad) == (59, 0)
    assert found.share_max == pytest.approx(0.0495, abs=1e-4)


def test_a_recalibrated_profile_keeps_its_shares() -> None:
    profile = DeferralProfile((0.0, 0.5, 0.9), (0.0, 0.5, 0.75))
    live = recalibrated(profile, (0.0, 0.5, 1.0), (0.0, 0.2, 0.4))
    assert live.fractions == profile.fractions
    assert live.thresholds == pytest.approx((0.0, 0.2, 0.3))


def test_saturated_confidences_still_make_a_profile() -> None:
    profile = DeferralProfile((0.0, 0.5, 0.9), (0.0, 0.5, 0.75))
    live = recalibrated(profile, (0.0, 1.0), (1.0, 1.0))
    assert live.thresholds == pytest.approx((1.0, 1.0, 1.0))
