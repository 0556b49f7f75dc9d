from __future__ import annotations

import math
from dataclasses import replace

import pytest

from diffserve.catalog import load_catalog
from diffserve.core import Cascade
from diffserve.profiles.curves import BypassPoint, QualityCurve
from diffserve.profiles.latency import LatencyProfile
from diffserve.sim.bound import FluidBound, MixedCascade, fluid_bound, mixture_bound
from diffserve.sim.quality import QualityTable

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


def mixed(light_s: float, heavy_s: float, *qualities: float) -> MixedCascade:
    cascade = Cascade(cascade_id="c", light="l", heavy="h", discriminator="d", slo_s=10.0)
    return MixedCascade(
        cascade=cascade,
        light=LatencyProfile({1: light_s}),
        heavy=LatencyProfile({1: heavy_s}),
        table=QualityTable(QualityCurve((0.0, 1.0), qualities, "preference")),
    )


def test_mixture_of_one_straight_cascade_is_the_fluid() -> None:
    # 10 queries in 5 s on 4 workers: 2 s of work per query; 0.1 for light, 1.9 of 3.8 for heavy.
    quality, busy = mixture_bound([10], 5.0, 4, [mixed(0.1, 3.8, 0.0, 1.0)])
    assert (quality, busy) == (pytest.approx(0.5), pytest.approx(1.0))


def test_mixture_takes_the_better_cascade_and_never_more_work_than_pays() -> None:
    cheap, dear = mixed(0.1, 1.0, 0.0, 0.4), mixed(0.5, 1.0, 0.6, 0.9)
    only = mixture_bound([10], 5.0, 4, [cheap])[0]
    both, busy = mixture_bound([10, 0], 5.0, 4, [cheap, dear])
    assert both == pytest.approx(0.9)
    assert both > only
    assert busy == pytest.approx(0.5 * 1.5 / 2.0)
    overloaded, full = mixture_bound([1000], 5.0, 4, [cheap, dear])
    assert (overloaded, full) == (0.0, 1.0)
    assert math.isnan(mixture_bound([0], 5.0, 4, [cheap])[0])


def test_bypass_points_widen_the_choice() -> None:
    plain = mixed(0.5, 1.0, 0.0, 0.5)
    point = BypassPoint(0.5, QualityCurve((0.0, 1.0), (0.4, 0.5), "preference"))
    table = replace(plain.table, bypass=(point,))
    assert mixture_bound([10], 5.0, 2, [replace(plain, table=table)]) > mixture_bound(
        [10], 5.0, 2, [plain]
    )
