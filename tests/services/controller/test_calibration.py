"""What discriminators learn reaches plans and people."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from google.protobuf import json_format

from diffserve.catalog import load_catalog
from diffserve.core import Population
from diffserve.profiles.calibration import METRIC
from diffserve.rpc.v1 import common_pb2
from diffserve.telemetry.store import TelemetryStore
from services.controller.calibration import NUM_SCORES_MIN, CalibrationBook
from tests.services.controller.deployment import eventually, renewed, running_controller

CATALOG = load_catalog("mock")
MOCK = Population("mock", "mock-light")
PROFILE = CATALOG.deferral["mock"]


def learnt(
    *, num_scores: int = NUM_SCORES_MIN, is_complete: bool = True, is_alarm: bool = False
) -> str:
    message = common_pb2.Calibration(
        discriminator="mock",
        num_scores=num_scores,
        fractions=[0.0, 0.5, 1.0],
        thresholds=[0.0, 0.1, 1.0],
        drift=common_pb2.Drift(psi=0.31, is_alarm=is_alarm),
    )
    for cascade_id in ("mock", "other"):
        gains = common_pb2.CascadeGains(
            gains=[0.2, 0.0], qualities=[0.5, 0.6, 0.6], num_pairs=9, is_complete=is_complete
        )
        message.gains[cascade_id].CopyFrom(gains)
    return json_format.MessageToJson(message)


def book(document: str = "", *, uses_online_quality: bool = False) -> CalibrationBook:
    found = CalibrationBook(CATALOG, uses_online_quality=uses_online_quality)
    found.take_in({MOCK: document} if document else {})
    return found


def test_without_news_the_catalog_holds() -> None:
    for found in (book(), book("no json"), book(learnt(num_scores=NUM_SCORES_MIN - 1))):
        assert found.deferral("mock") is CATALOG.deferral["mock"]
        assert found.quality("mock") is CATALOG.quality["mock"]
        assert found.warnings() == []
    assert book().message("mock") is None


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("fractions", [0.0, 1.0]),
        ("fractions", []),
        ("fractions", [0.0, 0.5, 0.9]),
        ("thresholds", [0.1]),
        ("thresholds", ["NaN", 0.1, 1.0]),
        ("qualities", []),
        ("qualities", [0.5]),
        ("qualities", [0.5, "Infinity"]),
    ],
)
def test_broken_lists_are_no_news(field: str, values: list[object]) -> None:
    document = json.loads(learnt())
    (document if field in document else document["gains"]["mock"])[field] = values
    found = book(json.dumps(document), uses_online_quality=True)
    assert found.deferral("mock") is CATALOG.deferral["mock"]
    assert found.quality("mock") is CATALOG.quality["mock"]


def test_live_thresholds_replace_the_catalogs_and_shares_stay() -> None:
    profile = book(learnt()).deferral("mock")
    assert profile.fractions == CATALOG.deferral["mock"].fractions
    assert abs(profile.threshold_for(0.5) - 0.1) < 0.011


def test_the_learnt_quality_is_planned_with_only_when_asked_for_and_complete() -> None:
    assert book(learnt()).quality("mock") is CATALOG.quality["mock"]
    incomplete = book(learnt(is_complete=False), uses_online_quality=True)
    assert incomplete.quality("mock") is CATALOG.quality["mock"]
    curve = book(learnt(), uses_online_quality=True).quality("mock")
    assert (curve.metric, curve.qualities) == (METRIC, (0.5, 0.6, 0.6))


def test_a_cascade_is_told_its_own_gains_only() -> None:
    message = book(learnt()).message("mock")
    assert message is not None
    assert list(message.gains) == ["mock"]


def test_each_cascade_is_told_of_its_own_light_variant() -> None:
    row = CATALOG.cascades["mock"]
    cascades = {
        "mock": row,
        "same": replace(row, cascade_id="same", heavy="other-heavy"),
        "other": replace(row, cascade_id="other", light="other-light"),
    }
    catalog = replace(CATALOG, cascades=cascades, deferral=dict.fromkeys(cascades, PROFILE))
    found = CalibrationBook(catalog, uses_online_quality=False)
    assert found.populations == (MOCK, Population("mock", "other-light"))
    found.take_in({MOCK: learnt(is_alarm=True)})
    assert found.deferral("mock") == found.deferral("same") != PROFILE
    assert found.deferral("other") is PROFILE
    assert [line.partition(":")[0] for line in found.warnings()] == ["mock", "same"]
    assert found.message("other") is None


async def test_an_alarm_is_in_the_plans_reason_and_the_status(redis_url: str) -> None:
    store = TelemetryStore(redis_url)
    await store.save_calibration(MOCK, learnt(is_alarm=True))
    async with running_controller(redis_url) as client, renewed(client, "w-0"):

        async def warned() -> bool:
            status = await client.status()
            return "mock: confidences have drifted (PSI 0.31)" in status.plan.reason

        await eventually(warned)
        status = await client.status()
    await store.close()
    (cascade,) = [row for row in status.cascades if row.cascade_id == "mock"]
    assert cascade.calibration.drift.is_alarm
