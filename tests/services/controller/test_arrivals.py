from __future__ import annotations

import pytest

from diffserve.telemetry.records import CascadeReport, LoadBalancerReport
from services.controller.arrivals import SCALE_MAX, ArrivalMeter


def report(
    num_arrivals: int, at_s: float, name: str = "lb-0", incarnation: str = "one"
) -> LoadBalancerReport:
    cascade = CascadeReport(num_arrivals=num_arrivals, num_in_progress=0)
    return LoadBalancerReport(
        loadbalancer_id=name,
        incarnation=incarnation,
        plan_id=0,
        queues={},
        cascades={"c": cascade},
        reported_unix_s=at_s,
    )


@pytest.fixture
def meter() -> ArrivalMeter:
    return ArrivalMeter(now_s=0.0)


def test_the_first_report_of_a_process_is_a_baseline(meter: ArrivalMeter) -> None:
    assert meter.count([report(1_000_000, 100.0)], now_s=1.0) is None
    count = meter.count([report(1_000_010, 102.0)], now_s=3.0)
    assert count is not None
    assert (count.arrivals, count.interval_s) == ({"c": 10}, 2.0)
    assert count.rate_qps("c") == 5.0
    assert count.rate_qps("unknown") == 0.0


def test_load_balancers_add_up(meter: ArrivalMeter) -> None:
    meter.count([report(0, 10.0), report(5, 90.0, "lb-1")], now_s=1.0)
    count = meter.count([report(4, 12.0), report(11, 92.0, "lb-1")], now_s=3.0)
    assert count is not None
    assert count.arrivals == {"c": 10}


def test_a_new_incarnation_or_a_reset_counter_is_a_baseline(meter: ArrivalMeter) -> None:
    meter.count([report(500, 10.0), report(700, 10.0, "lb-1")], now_s=0.0)
    restarted = [report(3, 12.0, incarnation="two"), report(20, 12.0, "lb-1")]
    assert meter.count(restarted, now_s=2.0) is None
    count = meter.count([report(7, 14.0, incarnation="two"), report(24, 14.0, "lb-1")], now_s=4.0)
    assert count is not None
    assert count.rate_qps("c") == pytest.approx(4.0)


def test_one_restart_does_not_hide_the_others(meter: ArrivalMeter) -> None:
    meter.count([report(500, 10.0), report(700, 10.0, "lb-1")], now_s=0.0)
    count = meter.count([report(9, 12.0, incarnation="two"), report(720, 12.0, "lb-1")], now_s=2.0)
    assert count is not None
    assert count.arrivals == {"c": 20}


def test_a_load_balancer_that_was_away_is_no_flood(meter: ArrivalMeter) -> None:
    meter.count([report(0, 10.0), report(0, 10.0, "lb-1")], now_s=0.0)
    meter.count([report(2, 12.0), report(0, 10.0, "lb-1")], now_s=2.0)
    # lb-1 was cut off from Redis, its last report remembered: 600 queries in 60 s are 10 per s.
    count = meter.count([report(4, 14.0), report(600, 70.0, "lb-1")], now_s=4.0)
    assert count is not None
    assert count.rate_qps("c") == pytest.approx(1.0 + 10.0)


def test_reports_out_of_step_with_the_period_do_not_distort_the_rate(meter: ArrivalMeter) -> None:
    """Reports every 0.25 s, read every 0.3 s, 100 qps."""
    for step in range(1, 30):
        now_s = 0.3 * step
        seen_s = now_s // 0.25 * 0.25
        count = meter.count([report(round(100 * seen_s), 1000.0 + seen_s)], now_s)
        if count is not None:
            assert count.rate_qps("c") == pytest.approx(100.0, rel=0.05)


def test_nobody_reported_since(meter: ArrivalMeter) -> None:
    meter.count([report(0, 10.0)], now_s=0.0)
    assert meter.count([report(0, 10.0)], now_s=0.1) is None
    assert meter.count([], now_s=0.15) is None
    assert meter.seconds_since_count(0.2) == pytest.approx(0.2)


def test_clocks_that_jump_do_not_multiply(meter: ArrivalMeter) -> None:
    meter.count([report(0, 10.0)], now_s=0.0)
    back = meter.count([report(8, 5.0)], now_s=2.0)
    assert back is not None
    assert back.arrivals == {"c": 8}
    ahead = meter.count([report(12, 5.000001)], now_s=4.0)
    assert ahead is not None
    assert ahead.arrivals == {"c": 4 * SCALE_MAX}
