from __future__ import annotations

import math

import pytest

from diffserve.core import Outcome
from diffserve.profiles.curves import QualityCurve
from diffserve.sim.quality import QualityTable
from diffserve.sim.report import Recorder

FID = QualityCurve((0.0, 0.5, 1.0), (-20.0, -10.0, -12.0), "-FID")


def recorder(*queries: tuple[float, Outcome, float]) -> Recorder:
    """Record (arrival, outcome, answered at) with deadlines of 5 s."""
    result = Recorder()
    for arrival_s, outcome, now_s in queries:
        result.arrived(arrival_s)
        result.finished(arrival_s, arrival_s + 5.0, outcome, now_s)
    return result


def test_violations_are_late_expired_and_failed_but_not_rejected() -> None:
    found = recorder(
        (0.0, Outcome.LIGHT, 1.0),
        (0.0, Outcome.HEAVY, 5.1),
        (0.0, Outcome.EXPIRED, 5.0),
        (0.0, Outcome.FAILED, 1.0),
        (0.0, Outcome.REJECTED, 0.0),
    )
    assert found.num_violations == 3
    assert found.num_late == 1
    assert found.heavy_share == 0.0
    assert found.windows[0].violations == 3


def test_windowed_quality_is_the_mean_of_the_table_over_windows() -> None:
    found = recorder(
        (0.0, Outcome.LIGHT, 1.0),
        (1.0, Outcome.HEAVY, 3.0),
        (6.0, Outcome.LIGHT_FALLBACK, 7.0),
        (17.0, Outcome.HEAVY, 20.0),
    )
    table = QualityTable(FID)
    assert found.quality_windowed(table) == pytest.approx((10.0 + 20.0 + 12.0) / 3)
    assert table.metric == "FID"
    assert table.is_lower_better
    assert math.isnan(Recorder().quality_windowed(table))


def test_routing_without_looking_gets_the_straight_line() -> None:
    assert QualityTable(FID, is_query_aware=False).reported(0.5) == pytest.approx(16.0)


def test_higher_is_better_keeps_its_sign() -> None:
    table = QualityTable(QualityCurve((0.0, 1.0), (0.2, 0.8), "preference"))
    assert not table.is_lower_better
    assert table.reported(1.0) == 0.8


def test_latency_quantiles_to_the_millisecond() -> None:
    found = recorder(*((0.0, Outcome.LIGHT, 0.01 * i) for i in range(1, 101)))
    assert found.latency_s(0.5) == pytest.approx(0.5, abs=0.0021)
    assert found.latency_s(0.99) == pytest.approx(0.99, abs=0.0021)
    assert Recorder().latency_s(0.5) == 0.0


def test_series_tells_every_window() -> None:
    found = recorder((3.0, Outcome.EXPIRED, 8.0), (12.0, Outcome.HEAVY, 14.0))
    assert found.series() == {
        "start_s": [0.0, 5.0, 10.0],
        "arrivals": [1, 0, 1],
        "violations": [1, 0, 0],
        "heavy_share": [None, None, 1.0],
    }
