import numpy as np
import pytest
import torch

from diffserve.embedded.distillation import DistillationTask
from diffserve.embedded.networks import SIZES, new_denoiser, new_palette, new_planner
from diffserve.embedded.scenes import Level, sample_shifts
from diffserve.embedded.tasks import (
    CAPTION_DROPOUT,
    DENOISER_LEVELS,
    PLANNER_LEVELS,
    TABLE_RATE,
    DenoiserTask,
    PlannerTask,
    draw_prompts,
    drop_some,
    render_latents,
)
from diffserve.embedded.tokenizer import build_tokenizer


def planner_task():
    tokenizer = build_tokenizer()
    return PlannerTask(new_planner(SIZES["heavy"], tokenizer), tokenizer)


def denoiser_task(name, **options):
    return DenoiserTask(new_palette(SIZES[name]), new_denoiser(SIZES[name]), **options)


TASKS = {
    "planner": planner_task,
    "light": lambda: denoiser_task("light", is_guided=False),
    "heavy": lambda: denoiser_task("heavy", is_guided=True, is_told_shifts=True),
    "tiny": lambda: DistillationTask(new_palette(SIZES["tiny"]), new_denoiser(SIZES["tiny"])),
}


@pytest.mark.parametrize("name", TASKS)
def test_steps_on_one_batch_lower_its_loss(name):
    torch.manual_seed(0)
    task = TASKS[name]()
    optimizer = torch.optim.AdamW(task.parameters(), lr=5e-4)
    losses = []
    for _ in range(4):
        loss = task.loss(4, np.random.default_rng(0), torch.Generator().manual_seed(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_only_the_palettes_table_learns_faster():
    task = TASKS["light"]()
    others, table = task.parameter_groups()
    assert table == {"params": [task.palette.table], "scale": TABLE_RATE}
    assert len(others["params"]) + 1 == len(list(task.parameters()))


@pytest.mark.parametrize("levels", [DENOISER_LEVELS, PLANNER_LEVELS])
def test_levels_are_drawn_in_proportion(levels):
    assert sum(levels.values()) == pytest.approx(1)
    prompts = draw_prompts(np.random.default_rng(0), levels, 1000)
    share = np.mean([prompt.scene.level is Level.ONE for prompt in prompts])
    assert share == pytest.approx(levels[Level.ONE], abs=0.05)
    assert not any(prompt.scene.is_held_out for prompt in prompts)


def test_a_share_of_captions_is_dropped():
    rng = np.random.default_rng(0)
    prompts = drop_some(draw_prompts(rng, DENOISER_LEVELS, 1000), rng)
    share = np.mean([prompt is None for prompt in prompts])
    assert share == pytest.approx(CAPTION_DROPOUT, abs=0.03)


def test_latents_are_renders():
    rng = np.random.default_rng(0)
    prompts = draw_prompts(rng, DENOISER_LEVELS, 3)
    latents = render_latents(prompts, [sample_shifts(prompt.scene, rng) for prompt in prompts])
    assert latents.shape == (3, 48, 16, 16)
    assert latents.abs().max() <= 1


def test_only_a_denoiser_that_is_told_shifts_sees_them():
    torch.manual_seed(0)
    palette, denoiser = new_palette(SIZES["tiny"]), new_denoiser(SIZES["tiny"])
    seen = []
    palette.register_forward_pre_hook(lambda _, args: seen.append(args[0].geometry))
    for is_told in (False, True):
        task = DenoiserTask(palette, denoiser, is_guided=False, is_told_shifts=is_told)
        task.loss(4, np.random.default_rng(0), torch.Generator().manual_seed(0))
    nominal, told = seen
    sides = (64 * nominal[:, 2:]).clamp(min=1)
    moved = ((nominal - told)[:, :2] * sides / 2).round(decimals=3)
    assert set(moved.unique().tolist()) == {-2, -1, 0, 1, 2}
