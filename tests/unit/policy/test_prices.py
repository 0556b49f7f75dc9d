from __future__ import annotations

from dataclasses import replace

import pytest

from diffserve.core import Cascade, CascadeStage, RequestClass
from diffserve.policy.pool import Pool, Worker
from diffserve.policy.prices import REFRESH_S, PoolPrice, Rate, pool_prices
from diffserve.profiles.curves import QualityCurve
from diffserve.profiles.gains import GainCurve
from diffserve.profiles.latency import LatencyProfile
from diffserve.profiles.online import LatencyEstimator
from tests.unit.policy.harness import make_query, plan

CURVE = QualityCurve((0.0, 0.2, 0.4, 0.6, 1.0), (0.0, 6.0, 10.0, 12.0, 8.0), "q")
STEEP = QualityCurve((0.0, 0.2, 0.4, 0.6, 1.0), (0.0, 18.0, 30.0, 36.0, 24.0), "q")
GAIN, STEEP_GAIN = GainCurve.of(CURVE), GainCurve.of(STEEP)
HEAVY = LatencyProfile({1: 1.0, 2: 1.6, 4: 3.2})
"""Two per batch of 1.6 s: 1.25 queries per second and worker, 0.8 s each."""


def pool(num_workers: int = 4, waiting: int = 0) -> Pool:
    heavy = Pool("heavy", LatencyEstimator(HEAVY), 2, CascadeStage.HEAVY)
    for index in range(num_workers):
        heavy.join(Worker(f"w{index}"))
    for index in range(waiting):
        heavy.queue.push(make_query(f"q{index}"), 0.0, 0.1)
    return heavy


def price(qps: float, **gains: GainCurve) -> PoolPrice:
    """Return the price at second 60, after light images at a steady rate for each cascade."""
    found = PoolPrice(gains=gains or {"c": GAIN}, window_s=5.0)
    for index in range(int(60.0 * qps)):
        for cascade_id in found.gains:
            found.image(cascade_id, (index + 1) / qps)
    return found


def test_rate_is_that_of_recent_events() -> None:
    rate = Rate(memory_s=2.0)
    assert rate.at(1.0) == 0.0
    for index in range(200):
        rate.count(index / 10.0)
    assert rate.at(20.0) == pytest.approx(10.0, rel=0.05)
    assert rate.at(22.0) == pytest.approx(10.0 / 2.718, rel=0.05)


def test_a_forecast_counts_until_there_are_events() -> None:
    rate = Rate(memory_s=2.0)
    rate.expect(7.0, 1.0)
    assert rate.at(1.0) == 7.0
    rate.count(3.0)
    rate.expect(70.0, 3.0)
    assert rate.at(3.0) == pytest.approx(7.0 / 2.718 + 0.5, rel=0.01)


def test_time_to_spare_costs_nothing() -> None:
    found = price(4.0)
    assert found.share("c", pool(), 60.0) == CURVE.best_fraction
    assert found.price == 0.0


def test_scarce_workers_serve_the_share_that_they_can() -> None:
    found = price(50.0)
    share = found.share("c", pool(), 60.0)
    # 5 a second, and the backlog that is welcome, of 50 that arrive.
    assert 0.1 < share < 0.16
    assert found.price == pytest.approx(30.0 / 0.8, rel=0.2)


def test_price_rises_with_what_waits_and_falls_with_workers() -> None:
    shares = [price(20.0).share("c", pool(4, waiting), 60.0) for waiting in (0, 5, 10, 20, 60)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > shares[3] > 0.0 == shares[4]
    assert price(20.0).share("c", pool(8), 60.0) > shares[0]


def test_queries_that_need_the_heavy_variant_come_first() -> None:
    found = price(20.0)
    for index in range(180):
        found.certain(index / 3.0)
    assert found.share("c", pool(), 60.0) < price(20.0).share("c", pool(), 60.0) - 0.1


def test_cascades_that_share_workers_compete_by_gain() -> None:
    found = price(10.0, c=GAIN, steep=STEEP_GAIN)
    flat, steep = (found.share(cascade_id, pool(), 60.0) for cascade_id in ("c", "steep"))
    assert steep > 2.0 * flat > 0.0
    # At the margin a second of a worker is worth the same in both, and all seconds are used.
    assert GAIN.share_at(found.price * 0.8) == flat
    assert STEEP_GAIN.share_at(found.price * 0.8) == steep
    alone = price(20.0).share("c", pool(), 60.0)
    assert 10.0 * (flat + steep) == pytest.approx(20.0 * alone, rel=0.01)


def test_price_is_found_anew_at_most_so_often() -> None:
    found, heavy = price(20.0), pool()
    before = found.share("c", heavy, 60.0)
    for index in range(60):
        heavy.queue.push(make_query(f"q{index}"), 60.0, 0.1)
    assert found.share("c", heavy, 60.0 + 0.9 * REFRESH_S) == before
    assert found.share("c", heavy, 60.0 + 1.1 * REFRESH_S) == 0.0


def test_without_workers_it_is_not_the_price_that_decides() -> None:
    assert price(20.0).share("c", pool(0), 60.0) == CURVE.best_fraction


def test_a_plan_gives_the_first_price_and_the_first_demand() -> None:
    first = replace(plan({"w0": "heavy"}), prices={"heavy": 3.0})
    found = PoolPrice(gains={"c": GAIN, "other": GAIN}, window_s=5.0)
    found.follow("heavy", first, 0.0)
    assert found.price == 3.0
    busy = replace(first, cascades={"c": replace(first.cascades["c"], demand_qps=50.0)})
    found = PoolPrice(gains={"c": GAIN}, window_s=5.0)
    found.follow("heavy", busy, 0.0)
    assert found.share("c", pool(), 0.0) == pytest.approx(price(50.0).share("c", pool(), 60.0), 0.1)
    measured = found.price
    found.follow("heavy", first, 1.0)
    assert found.price == measured


def test_prices_are_per_heavy_variant_and_weighted_by_class() -> None:
    cascades = {
        name: Cascade(cascade_id=name, light="l", heavy=heavy, discriminator="d", slo_s=slo_s)
        for name, heavy, slo_s in (("a", "big", 5.0), ("b", "big", 3.0), ("z", "huge", 9.0))
    }
    classes = {"k": RequestClass(class_id="k", cascade_ids=("b",), weight=3.0)}
    prices = pool_prices(cascades, dict.fromkeys(cascades, CURVE), classes)
    assert list(prices) == ["big", "huge"]
    assert prices["big"].window_s == 3.0
    assert prices["big"].gains["a"].share_at(10.0) == prices["big"].gains["b"].share_at(30.0)


def test_another_slo_in_a_plan_is_the_new_window() -> None:
    found = price(4.0)
    before = found.share("c", pool(), 60.0)
    told = plan({"w0": "heavy"})
    longer = replace(told, cascades={"c": replace(told.cascades["c"], slo_s=20.0)})
    found.follow("heavy", longer, 60.0)
    assert found.window_s == 20.0
    # Eight times the free backlog: more may be deferred for a while.
    assert found.share("c", pool(), 61.0) >= before
    found.follow("heavy", told, 62.0)
    assert found.window_s == 20.0, "a plan that tells no SLO changes none"


def test_a_cascade_that_joins_competes_at_once() -> None:
    heavy, found = pool(), price(4.0)
    assert found.share("c", heavy, 60.0) > 0.0
    joining = PoolPrice(gains={"steep": STEEP_GAIN}, window_s=3.0)
    found.join(joining)
    assert found.window_s == 3.0
    # Sooner than the price would be found anew.
    assert found.share("steep", heavy, 60.0 + REFRESH_S / 10.0) > 0.0
    for index in range(200):
        found.image("steep", 60.0 + index / 40.0)
    later_s = 65.0 + REFRESH_S
    assert found.share("steep", heavy, later_s) > found.share("c", heavy, later_s)


def test_what_a_cap_rules_out_bids_for_no_workers() -> None:
    cascade = Cascade(cascade_id="c", light="l", heavy="h", discriminator="d", slo_s=5.0)
    free, capped = (
        pool_prices({"c": c}, {"c": CURVE}, {})["h"]
        for c in (cascade, replace(cascade, deferral_max=0.24))
    )
    assert free.gains["c"].share_at(0.0) == 0.6
    assert capped.gains["c"].share_at(0.0) == 0.24
    assert capped.share("c", pool(), 0.0) == 0.24
