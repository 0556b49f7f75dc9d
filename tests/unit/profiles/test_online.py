"""The latency estimator follows measurements and stays a valid profile."""

from __future__ import annotations

import pytest

from diffserve.profiles.latency import LatencyProfile
from diffserve.profiles.online import SMOOTHING, LatencyEstimator

STARTING = LatencyProfile({1: 1.0, 2: 1.5, 4: 2.0})


def test_it_begins_with_the_profile_given() -> None:
    assert LatencyEstimator(STARTING).profile is STARTING


def test_the_first_measurement_scales_every_size() -> None:
    estimator = LatencyEstimator(STARTING)
    estimator.observe(2, 3.0)
    assert dict(estimator.profile.seconds_by_batch) == {1: 2.0, 2: 3.0, 4: 4.0}


def test_later_measurements_are_smoothed() -> None:
    estimator = LatencyEstimator(STARTING)
    estimator.observe(1, 1.0)
    estimator.observe(1, 2.0)
    assert estimator.profile.execution_s(1) == pytest.approx(1.0 + SMOOTHING)


def test_sizes_between_profiled_ones_count_too() -> None:
    estimator = LatencyEstimator(STARTING)
    estimator.observe(3, 3.5)
    assert estimator.profile.execution_s(4) == pytest.approx(4.0)


def test_the_result_never_decreases_with_size() -> None:
    estimator = LatencyEstimator(STARTING)
    estimator.observe(1, 5.0)
    estimator.observe(4, 1.0)
    seconds = [estimator.profile.execution_s(size) for size in (1, 2, 4)]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize(("size", "seconds"), [(0, 1.0), (5, 1.0), (1, 0.0), (1, -1.0)])
def test_meaningless_measurements_are_ignored(size: int, seconds: float) -> None:
    estimator = LatencyEstimator(STARTING)
    estimator.observe(size, seconds)
    assert estimator.profile is STARTING
