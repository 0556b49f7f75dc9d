import dataclasses

import numpy as np
import pytest

from diffserve.embedded.captions import sample_prompt
from diffserve.embedded.concepts import BACKGROUND_NAMES
from diffserve.embedded.oracle import find_background, is_right, look_at, shows_objects
from diffserve.embedded.scenes import LAYOUTS, Level, Scene, render


@pytest.mark.parametrize("level", Level)
def test_real_renders_are_right_and_others_wrong(level):
    rng = np.random.default_rng(0)
    prompts = [sample_prompt(rng, level) for _ in range(25)]
    images = [render(prompt.scene, rng) for prompt in prompts]
    assert all(is_right(image, prompt) for image, prompt in zip(images, prompts, strict=True))
    shuffled = zip(images[1:] + images[:1], prompts, strict=True)
    assert sum(is_right(image, prompt) for image, prompt in shuffled) <= 1


def test_swapped_objects_are_wrong():
    rng = np.random.default_rng(0)
    for _ in range(10):
        prompt = sample_prompt(rng, Level.TWO)
        swapped = dataclasses.replace(prompt.scene, concepts=prompt.scene.concepts[::-1])
        assert not is_right(render(swapped, rng), prompt)


def test_objects_are_recognised_in_any_style_and_before_any_background():
    rng = np.random.default_rng(0)
    for _ in range(10):
        prompt = sample_prompt(rng, Level.TWO)
        restyled = dataclasses.replace(prompt.scene, style="sketch", background="pink")
        assert shows_objects(render(restyled, rng), prompt)
        swapped = dataclasses.replace(prompt.scene, concepts=prompt.scene.concepts[::-1])
        assert not shows_objects(render(swapped, rng), prompt)


def test_a_named_background_must_be_met_and_an_open_one_need_not():
    rng = np.random.default_rng(0)
    prompt = sample_prompt(rng, Level.ONE)
    background = "pink" if prompt.scene.background == "night" else "night"
    image = render(dataclasses.replace(prompt.scene, background=background))
    assert not is_right(image, dataclasses.replace(prompt, names_background=True))
    assert is_right(image, dataclasses.replace(prompt, names_background=False))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("background", BACKGROUND_NAMES)
def test_backgrounds_are_found(layout, background):
    scene = Scene("flat", background, layout, ("fox",) * len(LAYOUTS[layout]))
    assert find_background(render(scene, np.random.default_rng(0)), layout) == background


def test_a_sighting_says_how_well_the_sprite_fits():
    scene = Scene("flat", "pink", "single", ("owl",))
    (slot,) = LAYOUTS["single"]
    clean = look_at(render(scene), slot, "pink")
    assert (clean.style, clean.concept) == ("flat", "owl")
    assert clean.error < 0.01
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert look_at(noise, slot, "pink").error > 0.2
