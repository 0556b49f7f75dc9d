"""Observe over a real socket: what workers scored is learnt, whole or not at all."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from diffserve.rpc.v1 import common_pb2, discriminator_pb2
from diffserve.scoring.populations import NUM_RANKS
from services.discriminator.reports import NUM_CONFIDENCES_MAX
from tests.services.discriminator.test_discriminator import MOCK, refusal, running


def group(*confidences: float, name: str = "mock", variant_id: str = "mock-light") -> Any:
    return discriminator_pb2.Confidences(
        discriminator=name, variant_id=variant_id, confidences=confidences, scoring_s=[0.5]
    )


def heavy(confidence: float, name: str = "mock") -> Any:
    light = common_pb2.LightScore(cascade_id="mock", discriminator=name, percentile=0.2)
    return discriminator_pb2.HeavyConfidence(light=light, confidence=confidence)


def report(*light: Any, heavy: Any = ()) -> Any:
    return discriminator_pb2.ObserveRequest(light=light, heavy=heavy)


async def test_confidences_join_in_order_and_quantiles_come_back() -> None:
    async with running() as (application, stub):
        response = await stub.Observe(report(group(0.25, 0.75, 0.5), group(variant_id="other")))
        sketches = application.scoring.populations.sketches
        assert sketches[MOCK].scores()[-3:] == (0.25, 0.75, 0.5)
        assert list(response.sketches[0].confidences) == list(sketches[MOCK].quantiles(NUM_RANKS))
    # Nobody drew anything of the other one yet: it is shown what newcomers borrow.
    assert len(response.sketches[0].confidences) == NUM_RANKS
    assert 0 < len(response.sketches[1].confidences) < NUM_RANKS


async def test_a_question_changes_nothing() -> None:
    async with running() as (application, stub):
        before = application.scoring.populations.sketches[MOCK].scores()
        await stub.Observe(report(group()))
        assert application.scoring.populations.sketches[MOCK].scores() == before


async def test_heavy_confidences_are_paired() -> None:
    async with running() as (application, stub):
        await stub.Observe(report(heavy=[heavy(0.75), heavy(0.5)]))
        sketch = application.scoring.populations.sketches[MOCK]
        gains = application.scoring.learnt.message(MOCK, sketch).gains["mock"]
    assert gains.num_pairs == 2


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        (report(group(0.5), group(0.25, float("nan"))), "light.1.confidences.1"),
        (report(group(-0.25)), "light.0.confidences.0"),
        (report(group(*[0.5] * (NUM_CONFIDENCES_MAX + 1))), "light.0.confidences"),
        (report(group(0.5), heavy=[heavy(1.5)]), "heavy.0"),
        (report(group(0.5, variant_id="x" * 200)), "variant_id"),
    ],
)
async def test_one_wrong_field_and_nothing_is_taken_in(wrong: Any, where: str) -> None:
    async with running() as (application, stub):
        before = application.scoring.populations.sketches[MOCK].scores()
        code, text = await refusal(stub.Observe(wrong))
        assert application.scoring.populations.sketches[MOCK].scores() == before
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert where in text


async def test_nothing_is_taken_in_before_what_was_known_is_restored() -> None:
    async with running() as (application, stub):
        application.servicer.unavailable = "warming up"
        before = application.scoring.populations.sketches[MOCK].scores()
        code, _ = await refusal(stub.Observe(report(group(0.5))))
        assert application.scoring.populations.sketches[MOCK].scores() == before
    assert code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    "wrong", [report(group(0.5, name="who")), report(heavy=[heavy(0.5, name="who")])]
)
async def test_an_unknown_discriminator_is_not_found(wrong: Any) -> None:
    async with running() as (_, stub):
        code, text = await refusal(stub.Observe(wrong))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "who" in text
