"""Grades and choices, on a made-up evaluation whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from diffserve.embedded.findings import (
    choose_cascade,
    clearly_better,
    cross_validated,
    grade,
    share_of_oracle,
)
from diffserve.embedded.presets import DISCRIMINATOR_FOLDER, HEAVY, LIGHT, MEDIUM, REALNESS_FOLDER
from tests.unit.zoos import COSTS, NAMES, findings

ZOO = findings()


def test_variants_are_told_apart_by_prompt() -> None:
    assert (ZOO.light, ZOO.heavy) == (LIGHT.name, HEAVY.name)
    assert len(ZOO.seeds) == len(ZOO.levels) == len(ZOO.styles) == 240
    assert ZOO.right(LIGHT.name)[ZOO.levels == "one"].all()
    assert not ZOO.right(LIGHT.name)[ZOO.levels != "one"].any()
    assert ZOO.pairs[0] == (LIGHT.name, MEDIUM.name)


@pytest.mark.parametrize("by", ["checker", "distance"])
def test_heavy_is_clearly_better_with_several_objects(by) -> None:
    assert (clearly_better(ZOO, by) == (ZOO.levels != "one")).all()


def test_a_discriminator_that_knows_gets_all_and_one_that_does_not_gets_nothing() -> None:
    better = clearly_better(ZOO, "checker")
    assert grade(ZOO, DISCRIMINATOR_FOLDER, better, ZOO.everything) == 1.0
    assert grade(ZOO, REALNESS_FOLDER, better, ZOO.everything) == 0.5
    assert share_of_oracle(ZOO, DISCRIMINATOR_FOLDER, ZOO.everything) == pytest.approx(1.0)
    assert share_of_oracle(ZOO, REALNESS_FOLDER, ZOO.everything) == pytest.approx(0.0)


def test_the_cheapest_cascade_that_is_good_enough_is_chosen() -> None:
    choice = choose_cascade(ZOO, ZOO.everything)
    assert (choice.name.light, choice.name.heavy) == (MEDIUM.name, HEAVY.name)
    # 0.97 and a standard error of 240 prompts, of the 5 % that medium gets wrong.
    assert choice.point.fraction == pytest.approx(0.04)
    assert choice.point.quality == pytest.approx(0.99)


def test_without_knowledge_more_must_be_deferred() -> None:
    blind = choose_cascade(ZOO, ZOO.everything, REALNESS_FOLDER)
    assert blind.point.device_s > choose_cascade(ZOO, ZOO.everything).point.device_s


def test_a_cascade_is_tried_on_seeds_that_it_was_not_chosen_on(monkeypatch) -> None:
    zoo = findings()
    looked_at = []

    def choose(found, chosen, discriminator):
        looked_at.append(np.unique(found.seeds[chosen]).tolist())
        return choose_cascade(found, chosen, discriminator)

    monkeypatch.setattr("diffserve.embedded.findings.choose_cascade", choose)
    verdict = cross_validated(zoo)
    assert looked_at == [[1], [0]]
    assert verdict.accuracy_vs_heavy == pytest.approx(0.99)
    cost = (COSTS.images_s[1][MEDIUM.name] + 0.01 + 0.04) / 1.0
    assert verdict.device_time_vs_heavy == pytest.approx(cost)


def test_variants_of_other_names_are_compared_by_their_ends() -> None:
    few = type(ZOO)(ZOO.outcomes, COSTS, NAMES[:2])
    assert (few.light, few.heavy) == (LIGHT.name, MEDIUM.name)
