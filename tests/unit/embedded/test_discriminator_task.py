import numpy as np
import pytest
import torch

from diffserve.embedded.captions import sample_prompt
from diffserve.embedded.discriminator_task import (
    DiscriminatorTask,
    _spoil,
    draw_sound,
    draw_spoilt,
    fit_temperature,
    light_example,
)
from diffserve.embedded.judging import Judged
from diffserve.embedded.oracle import is_right
from diffserve.embedded.scenes import Level, render
from diffserve.embedded.tokenizer import build_tokenizer

IMAGE = np.zeros((64, 64, 3), np.uint8)


@pytest.mark.parametrize("level", Level)
def test_a_spoilt_scene_no_longer_answers_the_prompt(level):
    rng = np.random.default_rng(0)
    for _ in range(30):
        prompt = sample_prompt(rng, level)
        spoilt = _spoil(prompt, rng)
        assert spoilt != prompt.scene
        # An open style or background must not be what was spoilt.
        if not prompt.names_style:
            assert spoilt.style == prompt.scene.style
        if not prompt.names_background:
            assert spoilt.background == prompt.scene.background


def test_blemishes_leave_a_sound_image_right():
    rng = np.random.default_rng(0)
    for _ in range(20):
        prompt = sample_prompt(rng, Level.TWO)
        example = draw_sound(prompt, rng)
        assert example.is_enough
        assert is_right(example.image, prompt)


def test_spoilt_images_are_wrong():
    rng = np.random.default_rng(0)
    for _ in range(20):
        prompt = sample_prompt(rng, Level.TWO)
        example = draw_spoilt(prompt, rng)
        assert not example.is_enough
        assert example.shown != prompt.scene


@pytest.mark.parametrize(
    ("light", "heavy", "is_enough"),
    [(True, True, True), (False, True, False), (False, False, True)],
)
def test_a_light_image_is_enough_unless_heavy_gains(light, heavy, is_enough):
    prompt = sample_prompt(np.random.default_rng(0), Level.TWO)
    example = light_example(Judged(prompt, IMAGE, IMAGE, light, heavy))
    assert example.is_enough is is_enough
    assert example.shown == (prompt.scene if light else None)


def test_a_step_leaves_the_planner_alone(untrained_heavy):
    torch.manual_seed(0)
    prompt = sample_prompt(np.random.default_rng(0), Level.TWO)
    judged = [Judged(prompt, IMAGE, IMAGE, False, True)]
    task = DiscriminatorTask(build_tokenizer(), untrained_heavy.text_encoder, judged)
    loss = task.loss(8, np.random.default_rng(0), torch.Generator())
    loss.backward()
    assert loss.item() > 0
    assert all(p.grad is None for p in task.network.planner.parameters())
    assert all(p.grad is not None for p in task.network.trunk.parameters())


def test_the_temperature_is_high_for_a_network_that_is_too_sure(untrained_heavy):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    tokenizer = build_tokenizer()
    network = DiscriminatorTask(tokenizer, untrained_heavy.text_encoder).network.eval()
    # An untrained network knows nothing, so the surer it sounds the more it has to be cooled.
    torch.nn.init.normal_(network.verdict[-1].weight, std=50.0)
    prompts = [sample_prompt(rng, Level.ONE) for _ in range(16)]
    judged = [
        Judged(prompt, render(prompt.scene, rng), IMAGE, is_light_right, True)
        for prompt, is_light_right in zip(prompts, [True, False] * 8, strict=True)
    ]
    assert fit_temperature(network, tokenizer, judged) > 2
