"""Confidences are ranked among those of the same light variant's images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import grpc
import numpy as np
import pytest

from diffserve.catalog import Catalog
from diffserve.core import Population
from diffserve.profiles.curves import DeferralProfile
from diffserve.profiles.sketch import NUM_BORROWED_SCORES
from diffserve.rpc.v1 import discriminator_pb2, discriminator_pb2_grpc
from diffserve.scoring.populations import NUM_FOREIGN_MAX
from diffserve.telemetry.store import TelemetryStore
from tests.services.discriminator.test_discriminator import (
    catalog_with,
    raw,
    refusal,
    running,
    score_request,
)

Stub = discriminator_pb2_grpc.DiscriminatorStub
SHARE = 0.3
DIM, BRIGHT, LATER = (Population("odd", name) for name in ("dim", "bright", "later"))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """Two cascades whose light images score 0 to 0.5 and 0.5 to 1; three variants to draw light."""
    catalog = catalog_with("HalfScorer", tmp_path)
    variant, cascade = catalog.variants["mock-light"], catalog.cascades["mock"]
    profiles = {
        "dim": DeferralProfile((0.0, 0.5), (0.0, 1.0)),
        "bright": DeferralProfile((0.5, 1.0), (0.0, 1.0)),
    }
    return dataclasses.replace(
        catalog,
        variants={
            **catalog.variants,
            **{
                name: dataclasses.replace(variant, variant_id=name) for name in (*profiles, "later")
            },
        },
        cascades={
            name: dataclasses.replace(cascade, cascade_id=name, light=name, discriminator="odd")
            for name in profiles
        },
        deferral=profiles,
    )


def drawn(low: float, high: float, count: int, seed: int = 1) -> list[int]:
    """Return grey values whose confidences lie evenly between ``low`` and ``high``."""
    values = np.random.default_rng(seed).uniform(255 * low, 255 * high, count)
    return [int(value) for value in values]


async def scored(
    stub: Stub, variant_id: str, values: Sequence[int], **options: bool
) -> list[discriminator_pb2.ImageScore]:
    images = [raw("a", value) for value in values]
    request = score_request(*images, name="odd", variant_id=variant_id, **options)
    return list((await stub.Score(request)).scores)


def deferred(scores: Sequence[discriminator_pb2.ImageScore]) -> float:
    return sum(score.percentile < SHARE for score in scores) / len(scores)


async def test_each_variant_is_deferred_by_its_own_share_and_nothing_drifts(
    catalog: Catalog,
) -> None:
    dim, bright = drawn(0.0, 0.5, 600), drawn(0.5, 1.0, 600)
    by_variant: dict[str, list[discriminator_pb2.ImageScore]] = {"dim": [], "bright": []}
    async with running(catalog) as (application, stub):
        for start in range(0, 600, 20):
            by_variant["dim"] += await scored(stub, "dim", dim[start : start + 20])
            by_variant["bright"] += await scored(stub, "bright", bright[start : start + 20])
        for population in (DIM, BRIGHT):
            drift = application.scoring.learnt.drifts()[population]
            assert drift.num_samples > 200
            assert not drift.is_alarm
    for scores in by_variant.values():
        assert deferred(scores) == pytest.approx(SHARE, abs=0.05)
        assert deferred(scores[:100]) == pytest.approx(SHARE, abs=0.12)


async def test_an_alarm_is_of_its_own_population(catalog: Catalog) -> None:
    async with running(catalog) as (application, stub):
        for start in range(6):
            await scored(stub, "dim", drawn(0.4, 0.5, 50, seed=start))
            await scored(stub, "bright", drawn(0.5, 1.0, 50, seed=start))
        drifts = application.scoring.learnt.drifts()
        assert (drifts[DIM].is_alarm, drifts[BRIGHT].is_alarm) == (True, False)
        sketches = application.scoring.populations.sketches
        assert len(sketches[DIM]) < 512 < len(sketches[BRIGHT])


async def test_a_variant_without_a_cascade_is_deferred_by_its_own_share_soon(
    catalog: Catalog,
) -> None:
    scores: list[discriminator_pb2.ImageScore] = []
    async with running(catalog) as (application, stub):
        values = drawn(0.6, 0.7, 400)
        # The first batch ranks among those of the others: not all of it is deferred, nor none.
        first = await scored(stub, "later", drawn(0.0, 1.0, 40))
        for start in range(0, 400, 10):
            scores += await scored(stub, "later", values[start : start + 10])
        assert LATER not in application.scoring.learnt.drifts()
        own = len(application.scoring.populations.sketches[LATER])
    assert own == NUM_BORROWED_SCORES + 440
    assert deferred(first) == pytest.approx(SHARE, abs=0.15)
    assert deferred(scores[100:]) == pytest.approx(SHARE, abs=0.08)


async def test_images_of_no_variant_have_a_population_of_their_own(catalog: Catalog) -> None:
    async with running(catalog) as (application, stub):
        before = {p: s.scores() for p, s in application.scoring.populations.sketches.items()}
        await scored(stub, "", drawn(0.0, 1.0, 30), exclude_from_sketch=True)
        after = application.scoring.populations.sketches
        assert {p: s.scores() for p, s in after.items()} == before
        await scored(stub, "", drawn(0.0, 1.0, 30))
        assert set(after) == {*before, Population("odd", "")}
        assert all(after[p].scores() == scores for p, scores in before.items())


async def test_invented_variants_are_scored_but_only_so_many_are_kept(catalog: Catalog) -> None:
    async with running(catalog) as (application, stub):
        sketches = application.scoring.populations.sketches
        num_known = len(sketches)
        for index in range(NUM_FOREIGN_MAX + 10):
            (score,) = await scored(stub, f"invented-{index}", [100])
            assert 0.0 < score.percentile < 1.0
        assert len(sketches) == num_known + NUM_FOREIGN_MAX
        assert Population("odd", f"invented-{NUM_FOREIGN_MAX}") not in sketches
        assert application.scoring.learnt.message(DIM, sketches[DIM]).num_scores == 0
        # They take no place of the catalog's variants, nor of another discriminator's.
        await scored(stub, "later", [100])
        await stub.Score(score_request(raw("a"), variant_id="invented"))
        assert {LATER, Population("mock", "invented")} <= set(sketches)


@pytest.mark.parametrize("variant_id", ["x" * 129, "a\nb", "a\x00"])
async def test_names_of_variants_are_names(catalog: Catalog, variant_id: str) -> None:
    async with running(catalog) as (_, stub):
        code, text = await refusal(
            stub.Score(score_request(raw("a"), name="odd", variant_id=variant_id))
        )
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert text.startswith("variant_id")


async def test_a_sketch_is_described_by_its_variant(catalog: Catalog) -> None:
    medians = {}
    async with running(catalog) as (application, stub):
        known = set(application.scoring.populations.sketches)
        for variant_id in ("dim", "bright", "later"):
            request = discriminator_pb2.DescribeSketchRequest(
                discriminator="odd", variant_id=variant_id
            )
            medians[variant_id] = (await stub.DescribeSketch(request)).thresholds[10]
        assert set(application.scoring.populations.sketches) == known
    assert medians["dim"] == pytest.approx(0.25, abs=0.01)
    assert medians["bright"] == pytest.approx(0.75, abs=0.01)
    assert 0.4 < medians["later"] < 0.6


async def test_sketches_of_every_variant_of_the_catalog_survive_a_restart(
    catalog: Catalog, redis_url: str
) -> None:
    async with running(catalog, redis_url=redis_url) as (application, stub):
        for variant_id in ("dim", "later", "", "invented"):
            await scored(stub, variant_id, drawn(0.2, 0.3, 30))
        before = {p: s.scores() for p, s in application.scoring.populations.sketches.items()}
    async with running(catalog, redis_url=redis_url) as (application, _):
        after = application.scoring.populations.sketches
        assert set(after) == set(before) - {Population("odd", "invented")}
        for population, sketch in after.items():
            assert sketch.scores() == pytest.approx(before[population], abs=1e-5)
        drifts = application.scoring.learnt.drifts()
        assert (drifts[DIM].num_samples > 0, drifts[BRIGHT].num_samples > 0) == (True, True)


@pytest.mark.parametrize("document", ["[0.5, 0.6]", "no json", "7", "[2.0]", '{"a": 1}'])
async def test_what_cannot_be_a_sketch_is_ignored(
    catalog: Catalog, redis_url: str, document: str
) -> None:
    """One of a release that ranked all variants together, and values that nobody wrote."""
    names = ["sketch:odd"] if document.startswith("[0") else ["sketch:odd:dim", "sketch:odd:later"]
    store = TelemetryStore(redis_url)
    for name in names:
        await store._redis.set(f"diffserve:{name}", document)
    await store.close()
    async with running(catalog, redis_url=redis_url) as (application, stub):
        assert len(application.scoring.populations.sketches[DIM]) == 512
        assert len(await scored(stub, "later", [100])) == 1


async def test_a_mock_gives_each_variant_the_confidences_of_its_cascade(catalog: Catalog) -> None:
    """So that none seems to drift."""
    cascades = {
        c: dataclasses.replace(r, discriminator="mock") for c, r in catalog.cascades.items()
    }
    async with running(dataclasses.replace(catalog, cascades=cascades)) as (application, stub):
        for variant_id in cascades:
            for block in range(8):
                images = [raw(f"{variant_id}-{block}-{index}") for index in range(48)]
                await stub.Score(score_request(*images, variant_id=variant_id))
        drifts = application.scoring.learnt.drifts()
    assert {population.variant_id for population in drifts} == set(cascades)
    for drift in drifts.values():
        assert drift.num_samples == 256
        assert not drift.is_alarm
