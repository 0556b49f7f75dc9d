"""A variant's latency on several types of devices."""

from __future__ import annotations

import pytest

from diffserve.profiles.devices import DeviceProfiles
from diffserve.profiles.latency import LatencyProfile
from diffserve.profiles.online import LatencyEstimator

REFERENCE = LatencyProfile({1: 1.0, 2: 1.5, 4: 2.0})
SLOW = LatencyProfile({1: 2.0, 2: 4.5})


def test_unknown_type_is_as_the_reference() -> None:
    devices = DeviceProfiles(REFERENCE, {"slow": SLOW})
    assert devices.slowness("other", 4) == 1.0
    assert devices.profile_on("other", REFERENCE) is REFERENCE
    assert DeviceProfiles(REFERENCE).slowness("slow", 1) == 1.0


def test_ratio_is_by_size_as_far_as_both_are_known() -> None:
    devices = DeviceProfiles(REFERENCE, {"slow": SLOW})
    assert devices.slowness("slow", 1) == pytest.approx(2.0)
    assert devices.slowness("slow", 2) == pytest.approx(3.0)
    assert devices.slowness("slow", 4) == pytest.approx(3.0)


def test_what_is_learnt_of_the_reference_holds_for_all_types() -> None:
    devices = DeviceProfiles(REFERENCE, {"slow": SLOW})
    estimator = LatencyEstimator(REFERENCE)
    assert devices.profile_on("slow", estimator.profile) == SLOW
    estimator.observe(1, 1.1)
    learnt = devices.profile_on("slow", estimator.profile)
    assert learnt.execution_s(2) == pytest.approx(1.1 * 4.5)
    assert learnt.batch_size_max == 2
    assert devices.profile_on("slow", estimator.profile) is learnt


def test_scaled_profile_never_decreases() -> None:
    odd = DeviceProfiles(REFERENCE, {"odd": LatencyProfile({1: 3.0, 2: 3.0, 4: 3.0})})
    slower = LatencyProfile({1: 2.0, 2: 2.0, 4: 2.0})
    assert [odd.profile_on("odd", slower).execution_s(n) for n in (1, 2, 4)] == [6.0, 6.0, 6.0]
