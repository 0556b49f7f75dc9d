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
    judge_light_images,
)
from diffserve.embedded.oracle import is_right
from diffserve.embedded.scenes import Level
from diffserve.embedded.tokenizer import build_tokenizer


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
        assert example.is_right
        assert is_right(example.image, prompt)


def test_spoilt_images_are_wrong():
    rng = np.random.default_rng(0)
    for _ in range(20):
        prompt = sample_prompt(rng, Level.TWO)
        example = draw_spoilt(prompt, rng)
        assert not example.is_right
        assert example.shown != prompt.scene


def test_light_images_are_judged_one_by_one(untrained_light):
    judged = judge_light_images(untrained_light, count=3, num_steps=1, seed=0)
    assert [example.is_right for example in judged] == [False] * 3
    assert all(example.image.shape == (64, 64, 3) for example in judged)
    assert all(example.shown is None for example in judged)


def test_a_step_leaves_the_planner_alone(untrained_light, untrained_heavy):
    torch.manual_seed(0)
    judged = judge_light_images(untrained_light, count=4, num_steps=1, seed=0)
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
    examples = [draw(sample_prompt(rng, Level.ONE), rng) for draw in (draw_sound, draw_spoilt) * 8]
    assert fit_temperature(network, tokenizer, examples) > 2
