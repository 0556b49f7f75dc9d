from __future__ import annotations

import pytest

from diffserve.catalog import load_catalog
from diffserve.sim.bound import FluidBound, fluid_bound

CATALOG = load_catalog("paper-sdturbo")


def bound(*arrivals: int, num_workers: int = 16) -> FluidBound:
    return fluid_bound(
        arrivals,
        5.0,
        num_workers,
        5.0,
        CATALOG.latency["sd-turbo"],
        CATALOG.latency["sd-v1-5"],
        CATALOG.quality["paper-sdturbo"],
    )


def test_low_load_reaches_the_best_share_and_stops_there() -> None:
    found = bound(20)
    assert found.heavy_shares[0] == pytest.approx(0.6, abs=0.002)
    assert found.device_busy < 0.2


def test_high_load_takes_what_the_fleet_can_carry() -> None:
    # 32 qps: 16 workers less 32 * 48 ms light leave 14.5 for batches of 4 in 3.68 s.
    found = bound(160)
    light = 32.0 * 0.77 / 16.0
    assert found.heavy_shares[0] == pytest.approx((16.0 - light) / 0.92 / 32.0, abs=0.002)
    assert found.device_busy == pytest.approx(1.0, abs=0.002)


def test_overload_defers_nothing() -> None:
    assert bound(5 * 400).heavy_shares == (0.0,)


def test_empty_windows_count_for_nothing() -> None:
    assert len(bound(0, 20, 0).heavy_shares) == 1
    assert bound().device_busy == 0.0
