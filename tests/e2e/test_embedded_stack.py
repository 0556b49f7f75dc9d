"""The default deployment with its real models: what `make serve` gives a stranger."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import redis
from PIL import Image

from diffserve.catalog import load_catalog
from diffserve.embedded.captions import sample_prompt
from diffserve.embedded.concepts import BACKGROUND_NAMES
from diffserve.embedded.oracle import find_background, look_at
from diffserve.embedded.scenes import LAYOUTS, Level
from diffserve.rpc.v1 import admin_pb2, common_pb2, generation_pb2
from diffserve.telemetry import keys
from tests.e2e.stack import Stack, door, offer, running_stack

CATALOG = load_catalog("embedded")
OWL = "flat style, an owl, sky blue background"
RATE_QPS = 4.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("embedded"), "--workers=2") as running:
        yield running


def mixed_prompts(count: int) -> list[str]:
    rng = np.random.default_rng(5)
    levels = list(Level)
    return [sample_prompt(rng, levels[index % len(levels)]).text for index in range(count)]


def outcomes(rows: Iterable[admin_pb2.CascadeStatus]) -> Counter[str]:
    """Return how the queries of all cascades ended."""
    return sum((Counter(dict(row.outcomes)) for row in rows), Counter())


@pytest.mark.parametrize("preference", ["light", "heavy", "auto"])
def test_an_owl_is_an_owl(stack: Stack, tmp_path: Path, preference: str) -> None:
    path = tmp_path / "owl.png"
    told = stack.cli(
        *("generate", OWL, "-o", str(path), "--seed", "1"),
        *("--prefer", preference, "--address", stack.door),
    )
    image = np.asarray(Image.open(path).convert("RGB"))
    assert image.shape == (64, 64, 3)
    background = find_background(image, "single")
    assert background == "sky blue"
    assert background in BACKGROUND_NAMES
    assert look_at(image, LAYOUTS["single"][0], background).concept == "owl"
    cascade = CATALOG.cascades[told["cascade_id"]]
    assert told["cascade_id"] in CATALOG.default_class.cascade_ids
    allowed = {
        "light": {cascade.light},
        "heavy": {"sprite-heavy"},  # the class's best, whichever cascade the load allows others
        "auto": {cascade.light, cascade.heavy},
    }
    assert told["variant_id"] in allowed[preference]
    assert told["times"]["total_s"] > 0


@pytest.mark.parametrize("cascade_id", CATALOG.default_class.cascade_ids)
def test_each_cascade_of_the_class_can_be_named(
    stack: Stack, tmp_path: Path, cascade_id: str
) -> None:
    """An idle deployment has no use for the fast one: the other stands in, at once."""
    told = stack.cli(
        *("generate", OWL, "-o", str(tmp_path / "owl.png")),
        *("--cascade", cascade_id, "--address", stack.door),
    )
    assert told["outcome"] in ("OUTCOME_LIGHT", "OUTCOME_HEAVY")
    assert told["cascade_id"] in CATALOG.default_class.cascade_ids


async def test_200_mixed_prompts_are_all_answered_and_everybody_counts_the_same(
    stack: Stack,
) -> None:
    await asyncio.sleep(1.0)  # what earlier tests drew is in the telemetry by then
    before = (await stack.status()).cascades
    prompts = mixed_prompts(200)
    load = await offer(stack, prompts, RATE_QPS)
    assert not load.errors, load.errors[0]
    assert len(load.responses) == 200
    for answer in load.responses.values():
        with Image.open(io.BytesIO(answer.image.data)) as image:
            image.load()
            assert image.size == (64, 64)
    counted = load.outcomes()
    assert counted["light"] >= 10
    assert counted["heavy"] >= 10
    await asyncio.sleep(1.0)
    after = (await stack.status()).cascades
    assert {row.cascade_id for row in after} == set(CATALOG.default_class.cascade_ids)
    assert outcomes(after) - outcomes(before) == counted
    with redis.Redis.from_url(stack.ready["redis_url"], decode_responses=True) as client:
        stored = client.hgetall(keys.LOADBALANCER.of("loadbalancer-0"))
        plan = json.loads(client.get(keys.PLAN_CURRENT.of()))
    for row in after:
        for name, count in row.outcomes.items():
            assert int(stored[f"outcome:{row.cascade_id}:{name}"]) == count
    shown = stack.cli("plan", "show", "--address", stack.controller)
    assert abs(int(shown["plan_id"]) - int(plan["plan_id"])) <= 2


async def test_same_seed_same_image_whatever_the_company(stack: Stack) -> None:
    parameters = common_pb2.GenerationParameters(prompt=OWL, seed=7)
    light = common_pb2.PREFERENCE_LIGHT
    # Named: as the load rises, a class may turn to another cascade, with another light variant.
    named = {"preference": light, "cascade_id": "sprites-fine"}
    request = generation_pb2.GenerateRequest(parameters=parameters, **named)
    async with door(stack) as stub:
        alone = await stub.Generate(request)
        other = generation_pb2.GenerateRequest(
            parameters=common_pb2.GenerationParameters(prompt="a cat", seed=3), **named
        )
        calls = [stub.Generate(other) for _ in range(5)]
        calls += [stub.Generate(request), *(stub.Generate(other) for _ in range(5))]
        together = (await asyncio.gather(*calls))[5]
    first, second = (
        np.asarray(Image.open(io.BytesIO(answer.image.data)), np.int16)
        for answer in (alone, together)
    )
    assert np.abs(first - second).max() <= 1


async def test_size_and_format_are_as_asked_or_refused(stack: Stack) -> None:
    async with door(stack) as stub:
        parameters = common_pb2.GenerationParameters(
            prompt=OWL, width=256, height=128, output_format="webp"
        )
        answer = await stub.Generate(generation_pb2.GenerateRequest(parameters=parameters))
        with Image.open(io.BytesIO(answer.image.data)) as image:
            assert (image.size, image.format) == ((256, 128), "WEBP")
        parameters.width = 96
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Generate(generation_pb2.GenerateRequest(parameters=parameters))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "parameters.width" in str(caught.value.details())


def test_unknown_words_are_told(stack: Stack, tmp_path: Path) -> None:
    told = stack.cli(
        *("generate", "an owl with a zeppelin", "-o", str(tmp_path / "a.png")),
        *("--address", stack.door),
    )
    assert "zeppelin" in told["unknown_words"]
