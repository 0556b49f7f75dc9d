"""A discriminator learns of the cascades that operators activate while it runs."""

from __future__ import annotations

import asyncio
import json

import pytest

from diffserve.activation import Activation
from diffserve.catalog import CascadeEntry
from diffserve.core import Population
from diffserve.telemetry.store import TelemetryStore
from services.discriminator import following
from tests.services.discriminator.test_calibration import heavy
from tests.services.discriminator.test_discriminator import MOCK, raw, running, score_request

OTHER = Population("mock", "mock-heavy")
ENTRY = CascadeEntry.model_validate(
    {
        "light": "mock-heavy",
        "heavy": "mock-light",
        "discriminator": "mock",
        "slo_s": 1.0,
        "deferral": {"thresholds": [0.0, 0.8, 1.0], "fractions": [0.0, 0.1, 1.0]},
        "quality": {"metric": "made-up", "fractions": [0.0, 1.0], "qualities": [0.5, 0.9]},
    }
)
ACTIVATED = Activation(default_cascade="turned", cascade={"turned": ENTRY})


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FOLLOW_PERIOD_S", 0.02)


async def save_plan(redis_url: str, plan_id: int, activation: str) -> None:
    store = TelemetryStore(redis_url)
    document = json.dumps({"plan_id": str(plan_id), "activation": activation, "novel_field": 1})
    await store.save_plan(plan_id, document)
    await store.close()


async def test_an_activated_cascade_is_ranked_by_its_profile_and_watched(redis_url: str) -> None:
    async with running(redis_url=redis_url) as (application, stub):
        scoring = application.scoring
        before = scoring.populations.sketches[MOCK].scores()
        assert OTHER not in scoring.populations.sketches
        await save_plan(redis_url, 1, ACTIVATED.to_json())
        async with asyncio.timeout(3.0):
            while OTHER not in scoring.populations.sketches:
                await asyncio.sleep(0.01)
        assert set(scoring.learnt.drifts()) == {MOCK, OTHER}
        # One in ten of its images had less than 0.8 when it was measured.
        assert scoring.populations.sketch(OTHER).percentile(0.8) == pytest.approx(0.1, abs=0.02)
        assert scoring.populations.sketches[MOCK].scores() == before
        await stub.Score(score_request(raw("a"), variant_id="mock-heavy"))
        await stub.Score(score_request(heavy("a", cascade_id="turned")))
        known = scoring.learnt.message(OTHER, scoring.populations.sketches[OTHER])
        assert known.HasField("drift")
        assert known.num_scores == 1
        assert known.gains["turned"].num_pairs == 1


async def test_what_was_activated_is_known_after_a_restart(redis_url: str) -> None:
    await save_plan(redis_url, 1, ACTIVATED.to_json())
    async with running(redis_url=redis_url) as (application, stub):
        for index in range(5):
            await stub.Score(score_request(raw(f"p{index}"), variant_id="mock-heavy"))
        sketch = application.scoring.populations.sketches[OTHER].scores()
    async with running(redis_url=redis_url) as (application, _):
        restored = application.scoring.populations.sketches[OTHER].scores()
        assert restored == pytest.approx(sketch, abs=1e-5)
        assert OTHER in application.scoring.learnt.drifts()


@pytest.mark.parametrize("document", ["{broken", '{"plan_id": 7}', '{"activation": "{broken"}'])
async def test_an_unreadable_plan_changes_nothing(redis_url: str, document: str) -> None:
    store = TelemetryStore(redis_url)
    await store.save_plan(1, document)
    await store.close()
    async with running(redis_url=redis_url) as (application, stub):
        await asyncio.sleep(0.1)
        assert set(application.scoring.populations.sketches) == {MOCK}
        assert len((await stub.Score(score_request(raw("a")))).scores) == 1
