from __future__ import annotations

import numpy as np
import pytest

from diffserve.embedded import evaluate as evaluation
from diffserve.embedded.evaluate import (
    DISCRIMINATORS,
    Part,
    Request,
    draw,
    evaluate,
    evaluation_prompts,
    measure_costs,
    parts_of,
    sheet_prompts,
)
from diffserve.embedded.presets import LIGHT, TINY
from diffserve.embedded.scenes import Level
from diffserve.embedded.sheets import save_sheet

SMALL = Request(presets=(TINY, LIGHT), seeds=(0, 1), count=2, with_features=False, jobs=1)


@pytest.mark.parametrize("level", [level for level in Level if level is not Level.ONE])
def test_evaluation_prompts_are_held_out_and_fixed(level):
    prompts = evaluation_prompts(level, 20, seed=0)
    assert all(prompt.scene.is_held_out for prompt in prompts)
    assert prompts == evaluation_prompts(level, 20, seed=0)
    assert prompts != evaluation_prompts(level, 20, seed=1)


def test_parts_cover_every_prompt_once():
    request = Request(presets=(TINY, LIGHT), seeds=(3, 4), count=45)
    parts = [part for part in parts_of(request) if part.level is Level.TWO and part.seed == 4]
    drawn = [prompt for part in parts for prompt in part.prompts]
    assert drawn == evaluation_prompts(Level.TWO, 45, seed=4)
    assert len(parts_of(request)) == 2 * len(Level) * len(parts)


def test_an_image_does_not_depend_on_how_prompts_are_split(untrained_light):
    texts = ["an owl", "a cat", "a dog"]
    whole = draw(untrained_light, TINY, texts, seed=2)
    rest = draw(untrained_light, TINY, texts[1:], seed=2, start=1)
    assert np.abs(whole[1:].astype(int) - rest.astype(int)).max() <= 1


def test_everything_is_drawn_and_judged_and_progress_is_told():
    told = []
    outcomes = evaluate(SMALL, lambda done, total: told.append((done, total)))
    assert told[0] == (0, 24)
    assert told[-1] == (24, 24)
    assert list(outcomes) == parts_of(SMALL)
    for outcome in outcomes.values():
        for name in (TINY.name, LIGHT.name):
            drawn = outcome.drawn[name]
            assert drawn.by_checker.shape == (2,)
            assert set(drawn.confidences) == set(DISCRIMINATORS)
            assert drawn.features is None


def test_features_add_what_they_see():
    outcome = evaluation.draw_part(
        Part(Request(presets=(TINY,), seeds=(0,), count=2), 0, Level.ONE, 0)
    )
    drawn = outcome.drawn[TINY.name]
    assert drawn.features.shape == outcome.real.shape == outcome.other_real.shape == (2, 1280)
    assert (outcome.real_distances < drawn.distances).all()
    assert drawn.by_oracle.shape == (2,)
    assert not np.allclose(outcome.real, outcome.other_real)


def test_three_steps_cost_more_than_one():
    costs = measure_costs(SMALL, (1,))
    assert costs.images_s[1][TINY.name] < costs.images_s[1][LIGHT.name]
    assert costs.num_parameters[TINY.name] < costs.num_parameters[LIGHT.name]
    assert set(costs.scores_s) == set(DISCRIMINATORS)


@pytest.mark.parametrize("with_captions", [True, False])
def test_a_contact_sheet_is_an_image(tmp_path, with_captions):
    texts = sheet_prompts()[:9]
    save_sheet(
        np.zeros((9, 64, 64, 3), np.uint8), texts if with_captions else None, tmp_path / "sheet.png"
    )
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
