from __future__ import annotations

import math

import pytest

from diffserve.core import Outcome
from diffserve.profiles.curves import BypassPoint, QualityCurve
from diffserve.sim.quality import ClassTable, Mix, QualityTable
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
    assert found.series(QualityTable(FID)) == {
        "start_s": [0.0, 5.0, 10.0],
        "arrivals": [1, 0, 1],
        "violations": [1, 0, 0],
        "heavy_share": [None, None, 1.0],
        "quality": [None, None, QualityTable(FID).reported(1.0)],
        "answers": {"": [0, 0, 1]},
    }


def test_answers_of_several_cascades_are_judged_each_by_its_own_table() -> None:
    other = QualityTable(QualityCurve((0.0, 1.0), (-10.0, -30.0), "-FID"))
    table = ClassTable({"a": QualityTable(FID), "b": other})
    mixes = {"a": Mix(light=3), "b": Mix(light=0, heavy=1)}
    expected = 0.75 * QualityTable(FID).reported(0.0) + 0.25 * 30.0
    assert table.of(mixes) == pytest.approx(expected)
    assert table.of({}) is None
    assert (table.metric, table.is_lower_better) == ("FID", True)
    recorder = Recorder()
    for _ in range(3):
        recorder.finished(0.0, 5.0, Outcome.LIGHT, 1.0, cascade_id="a")
    recorder.finished(0.0, 5.0, Outcome.HEAVY, 1.0, cascade_id="b")
    assert recorder.quality_windowed(table) == pytest.approx(expected)
    assert recorder.quality_overall(table) == pytest.approx(expected)
    assert recorder.heavy_share == 0.25


def test_bypassed_answers_are_judged_between_the_shares_that_were_measured() -> None:
    point = BypassPoint(0.5, QualityCurve((0.0, 1.0), (0.6, 0.8), "preference"))
    curve = QualityCurve((0.0, 1.0), (0.2, 0.9), "preference")
    table = QualityTable(curve, bypass=(point,))
    assert table.of({"": Mix(light=2, heavy=2, bypassed=2)}) == pytest.approx(0.6)
    assert table.of({"": Mix(light=3, heavy=1, bypassed=1)}) == pytest.approx(0.4)
    assert table.of({"": Mix(light=0, heavy=4, bypassed=4)}) == pytest.approx(0.9)
    assert table.of({"": Mix(light=1, heavy=1)}) == table.reported(0.5)
