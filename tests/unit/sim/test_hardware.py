from __future__ import annotations

import numpy as np
import pytest

from diffserve.core import Batch, CascadeStage
from diffserve.profiles.latency import LatencyProfile
from diffserve.sim.hardware import Device, HardwareParameters, ServiceTimes

PROFILES = {"a": LatencyProfile({1: 1.0, 2: 1.5, 4: 2.5}), "b": LatencyProfile({1: 2.0})}


def batch(variant_id: str, size: int) -> Batch:
    ids = tuple(f"q{i}" for i in range(size))
    return Batch(
        batch_id=1,
        worker_id="w",
        variant_id=variant_id,
        stage=CascadeStage.LIGHT,
        query_ids=ids,
        started_s=0.0,
    )


def times(**parameters: float) -> ServiceTimes:
    hardware = HardwareParameters(**parameters)  # type: ignore[arg-type]
    return ServiceTimes(PROFILES, hardware, np.random.default_rng(0))


def test_profile_slowdown_and_swap_add_up() -> None:
    service_times = times(latency_cv=0.0, swap_s=0.5)
    device = Device("w", ("a", "b"))
    assert service_times.execution_s(device, batch("a", 3)) == 2.0
    device.variant_id, device.slowdown = "a", 2.0
    assert service_times.execution_s(device, batch("b", 1)) == 4.5


def test_variation_has_mean_one_and_the_given_width() -> None:
    service_times = times(latency_cv=0.2)
    device = Device("w", ("a", "b"))
    drawn = [service_times.execution_s(device, batch("a", 1)) for _ in range(20_000)]
    assert np.mean(drawn) == pytest.approx(1.0, abs=0.01)
    assert np.std(drawn) == pytest.approx(0.2, abs=0.01)


def test_least_recently_used_variant_is_evicted() -> None:
    device = Device("w", ("a", "b"))
    device.hold("a", 2)
    device.hold("c", 2)
    assert device.resident == ("a", "c")
    device.hold("b", 1)
    assert device.resident == ("b",)
    device.hold("a", 0)
    assert device.resident == ("b", "a")


def test_loading_device_refuses_and_reports_nothing_resident() -> None:
    device = Device("w", ("a",))
    assert device.accepts("a")
    assert not device.accepts("b")
    device.is_loading = True
    assert not device.accepts("a")
    assert device.info().resident == ()
