"""The JSON document of an evaluation."""

from __future__ import annotations

import dataclasses
import json

import pytest

from diffserve.embedded.presets import DISCRIMINATOR_FOLDER, HEAVY, LIGHT
from diffserve.embedded.summary import ORACLE, RANDOM, rounded, summarise
from tests.unit.zoos import NAMES, REQUEST, findings

ZOO = findings()


@pytest.mark.parametrize("with_features", [True, False])
def test_what_benches_read_is_there(with_features: bool) -> None:
    request = dataclasses.replace(REQUEST, with_features=with_features)
    document = json.loads(json.dumps(summarise(ZOO, request), allow_nan=False))
    assert document["light"] == LIGHT.name
    assert document["heavy"] == HEAVY.name
    assert document["prompt_accuracy"][LIGHT.name] == {"one": 1.0, "hard": 0.0}
    assert document["prompt_accuracy"].keys() == set(NAMES)
    assert document["gate"]["auroc"] == 1.0
    assert document["gate"]["oracle_gain_share_at_40"] == 1.0
    assert document["cascade"]["accuracy_vs_heavy"] == pytest.approx(0.99)
    assert document["cascade"]["device_time_vs_heavy"] == pytest.approx(0.35)
    assert ("distances" in document) is with_features


def test_a_router_that_knows_follows_the_oracle_and_all_end_alike() -> None:
    curves = summarise(ZOO, REQUEST)["curves"]
    assert curves[DISCRIMINATOR_FOLDER] == curves[ORACLE]
    middle = curves["fractions"].index(0.5)
    assert curves[RANDOM][middle] == pytest.approx((1 / 6 + 1) / 2, abs=1e-3)
    assert curves[ORACLE][middle] == pytest.approx(1 / 6 + 0.5, abs=1e-3)
    assert curves[ORACLE][-1] == curves[RANDOM][-1] == 1.0


def test_real_images_are_nearer_than_drawn_ones() -> None:
    distances = summarise(ZOO, REQUEST)["distances"]
    assert distances["images"] == 240
    assert distances["real"]["frechet"] < distances[HEAVY.name]["frechet"]


def test_numbers_are_short_and_nan_is_null() -> None:
    assert rounded({"a": [1.23456, float("nan"), 7, "x"]}) == {"a": [1.235, None, 7, "x"]}
