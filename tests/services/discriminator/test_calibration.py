"""What a discriminator learns while serving, and that Redis hears of it."""

from __future__ import annotations

import logging

import grpc
import pytest
from google.protobuf import json_format

from diffserve.catalog import load_catalog
from diffserve.core import Population
from diffserve.profiles.calibration import NUM_BINS, NUM_PER_BIN_MIN
from diffserve.profiles.drift import NUM_FRESH, WINDOW
from diffserve.profiles.sketch import QuantileSketch
from diffserve.rpc.v1 import common_pb2, discriminator_pb2
from diffserve.scoring.populations import Populations
from diffserve.telemetry.store import TelemetryStore
from services.discriminator.calibration import Learnt, Publisher
from tests.services.discriminator.test_discriminator import (
    MOCK,
    raw,
    refusal,
    running,
    score_request,
)

CATALOG = load_catalog("mock")


def new_sketch(capacity: int = 64) -> QuantileSketch:
    return Populations(CATALOG, capacity).sketches[MOCK]


def light(**fields: object) -> common_pb2.LightScore:
    known = {"cascade_id": "mock", "discriminator": "mock", "confidence": 0.5, "percentile": 0.2}
    return common_pb2.LightScore(**(known | fields))  # type: ignore[arg-type]


def heavy(prompt: str, **fields: object) -> discriminator_pb2.ScoredImage:
    image: discriminator_pb2.ScoredImage = raw(prompt)
    image.light.CopyFrom(light(**fields))
    return image


async def test_a_heavy_image_is_paired_and_leaves_the_sketch_alone() -> None:
    async with running() as (application, stub):
        before = application.scoring.populations.sketches[MOCK].scores()
        await stub.Score(score_request(heavy("a"), heavy("b", percentile=0.9, is_shadow=True)))
        sketch = application.scoring.populations.sketches[MOCK]
        gains = application.scoring.learnt.message(MOCK, sketch).gains["mock"]
        assert sketch.scores() == before
    assert (gains.num_pairs, gains.num_shadows, gains.is_complete) == (2, 1, False)
    assert len(gains.gains) == NUM_BINS
    assert len(gains.qualities) == NUM_BINS + 1


async def test_heavy_images_wait_for_nobody_and_nobody_for_them() -> None:
    async with running() as (application, stub):
        application.scoring.thread._num_waiting = 1
        code, _ = await refusal(stub.Score(score_request(heavy("a"))))
        application.scoring.thread._num_waiting = 0
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_heavy_and_light_images_do_not_mix() -> None:
    async with running() as (_, stub):
        code, text = await refusal(stub.Score(score_request(heavy("a"), raw("b"))))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "images" in text


def test_pairs_of_unknown_cascades_are_ignored() -> None:
    learnt, sketch = Learnt(CATALOG), new_sketch()
    learnt.pair(light(cascade_id="who"), 0.9)
    learnt.pair(light(discriminator="other"), 0.9)
    assert not learnt.message(MOCK, sketch).gains


def test_gains_are_complete_once_every_rank_has_pairs() -> None:
    learnt, sketch = Learnt(CATALOG), new_sketch()
    for index in range(NUM_BINS * NUM_PER_BIN_MIN):
        learnt.pair(light(percentile=(index % NUM_BINS) / NUM_BINS), 0.6)
    gains = learnt.message(MOCK, sketch).gains["mock"]
    assert gains.is_complete
    assert gains.qualities[-1] == pytest.approx(gains.qualities[0] + 0.1)


def test_drift_is_told_once_at_its_beginning_and_once_at_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    learnt, sketch = Learnt(CATALOG), new_sketch(1024)
    usual = sketch.scores()
    changes = [learnt.observe(MOCK, 0.97) for _ in range(WINDOW)]
    assert changes.count(True) == 1
    drift = learnt.message(MOCK, sketch).drift
    assert drift.is_alarm
    assert drift.psi > 0.2
    assert sum(learnt.observe(MOCK, score) for score in usual) == 1
    texts = [record.getMessage() for record in caplog.records]
    assert ["drifted" in texts[0], "as measured again" in texts[1], len(texts)] == [True, True, 2]


async def test_after_an_alarm_ranks_are_among_fresh_scores() -> None:
    async with running(sketch_size=1024) as (application, _):
        scoring = application.scoring
        scoring.learnt.observe = lambda name, value: True  # type: ignore[method-assign]
        await scoring.score(MOCK, __import__("numpy").zeros((1, 8, 8, 3), "uint8"), ["a"])
        assert len(scoring.populations.sketches[MOCK]) == NUM_FRESH


async def test_a_population_may_come_while_others_are_published(redis_url: str) -> None:
    sketches, later = Populations(CATALOG, 64).sketches, Population("mock", "later")

    class Busy(TelemetryStore):
        async def save_calibration(self, population: Population, document: str) -> None:
            sketches.setdefault(later, new_sketch())
            await super().save_calibration(population, document)

    store = Busy(redis_url)
    publisher = Publisher(store, Learnt(CATALOG), sketches)
    await publisher.publish()
    assert set(await store.load_calibrations([MOCK, later])) == {MOCK}
    await publisher.publish()
    assert set(await store.load_calibrations([MOCK, later])) == {MOCK, later}
    await store.close()


async def test_redis_hears_of_it(redis_url: str) -> None:
    store, learnt = TelemetryStore(redis_url), Learnt(CATALOG)
    learnt.observe(MOCK, 0.5)
    await Publisher(store, learnt, Populations(CATALOG, 64).sketches).publish()
    (document,) = (await store.load_calibrations([MOCK])).values()
    await store.close()
    message = json_format.Parse(document, common_pb2.Calibration())
    assert (message.discriminator, message.variant_id) == ("mock", "mock-light")
    assert message.num_scores == 1
    assert len(message.thresholds) == 21
    assert not message.drift.is_alarm


async def test_a_hung_discriminator_falls_silent(redis_url: str) -> None:
    store, hung = TelemetryStore(redis_url), True
    sketches = Populations(CATALOG, 64).sketches
    publisher = Publisher(store, Learnt(CATALOG), sketches, lambda: hung)
    await publisher.publish()
    assert not await store.load_calibrations([MOCK])
    hung = False
    await publisher.publish()
    assert set(await store.load_calibrations([MOCK])) == {MOCK}
    await store.close()
