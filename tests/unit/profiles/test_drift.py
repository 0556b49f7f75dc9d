"""Drift is found soon, is not imagined, and the measures are the textbooks'."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffserve.profiles.curves import DeferralProfile
from diffserve.profiles.drift import (
    WINDOW,
    DriftMonitor,
    ks_distance,
    ks_p_value,
    stability_index,
)
from diffserve.profiles.sketch import score_of_rank

EVEN = DeferralProfile((0.0, 0.5, 1.0), (0.0, 0.5, 1.0))
SKEWED = DeferralProfile((0.001, 0.02, 0.3, 0.9), (0.1, 0.5, 0.8, 0.95))
QUARTERS = (0.25, 0.5, 0.75)


def scores_of(profile: DeferralProfile, seed: int, count: int) -> list[float]:
    ranks = np.random.default_rng(seed).random(count).tolist()
    return [score_of_rank(profile, rank) for rank in ranks]


def shifted(score: float) -> float:
    """One logit more confident."""
    score = min(max(score, 1e-6), 1.0 - 1e-6)
    return 1.0 / (1.0 + math.exp(-(math.log(score / (1.0 - score)) + 1.0)))


def test_the_index_by_hand() -> None:
    scores = [0.1, 0.2, 0.3, 0.6, 0.6, 0.7, 0.8, 0.9]
    expected = sum((p - 0.25) * math.log(p / 0.25) for p in (0.25, 0.125, 0.375, 0.25))
    assert stability_index(scores, EVEN, QUARTERS) == pytest.approx(expected)


def test_an_empty_bin_has_a_finite_index() -> None:
    assert math.isfinite(stability_index([0.9] * 10, EVEN, QUARTERS))


def test_the_distance_by_hand() -> None:
    assert ks_distance([0.5], EVEN) == 0.5
    assert ks_distance([0.7, 0.9], EVEN) == pytest.approx(0.7)


@pytest.mark.parametrize(("distance", "p_value"), [(0.13403, 0.05), (0.16081, 0.01)])
def test_p_values_are_those_of_the_tables(distance: float, p_value: float) -> None:
    """Critical values of the one-sample test with 100 samples."""
    assert ks_p_value(distance, 100.0) == pytest.approx(p_value, rel=0.03)


def test_p_values_at_the_ends() -> None:
    assert ks_p_value(0.0, 100.0) == 1.0
    assert ks_p_value(1.0, 100.0) == pytest.approx(0.0, abs=1e-12)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=50))
def test_measures_stay_in_their_ranges(values: list[float]) -> None:
    for profile in (EVEN, SKEWED):
        distance = ks_distance(sorted(values), profile)
        assert 0.0 <= distance <= 1.0
        assert 0.0 <= ks_p_value(distance, 30.0) <= 1.0
        assert stability_index(sorted(values), profile, QUARTERS) >= 0.0


@pytest.mark.parametrize("profile", [EVEN, SKEWED])
@pytest.mark.parametrize("seed", range(5))
def test_no_alarm_without_drift(profile: DeferralProfile, seed: int) -> None:
    monitor = DriftMonitor(profile)
    assert not any(monitor.observe(s, 0.0) for s in scores_of(profile, seed, 6000))
    assert monitor.drift.psi < 0.2
    assert monitor.drift.num_samples == WINDOW


@pytest.mark.parametrize("profile", [EVEN, SKEWED])
def test_the_alarm_comes_within_a_window_and_ends(profile: DeferralProfile) -> None:
    monitor = DriftMonitor(profile)
    for score in scores_of(profile, 0, 1000):
        monitor.observe(score, 1.0)
    changes = [monitor.observe(shifted(s), 2.0) for s in scores_of(profile, 1, 1000)]
    assert changes.index(True) < WINDOW
    assert changes.count(True) == 1
    assert monitor.drift.is_alarm
    assert monitor.drift.since_s == 2.0
    ends = [monitor.observe(s, 3.0) for s in scores_of(profile, 2, 1000)]
    assert ends.count(True) == 1
    assert not monitor.drift.is_alarm
    assert monitor.drift.since_s == 3.0


def test_a_new_monitor_trusts_the_profile() -> None:
    """A few odd scores after the start are no alarm."""
    monitor = DriftMonitor(EVEN)
    assert not any(monitor.observe(0.99, 0.0) for _ in range(16))
    assert monitor.drift.num_samples == 16


def test_rounding_within_a_bin_is_no_alarm() -> None:
    monitor = DriftMonitor(EVEN)
    for score in scores_of(EVEN, 3, 1000):
        monitor.observe(math.floor(score * 20.0) / 20.0 + 0.01, 0.0)
    assert not monitor.drift.is_alarm


def test_a_restart_goes_on_where_it_was() -> None:
    seen = [shifted(s) for s in scores_of(SKEWED, 4, 2048)]
    monitor = DriftMonitor(SKEWED)
    monitor.resume(seen, 5.0)
    assert monitor.drift.is_alarm
    assert monitor.drift.num_samples == WINDOW
