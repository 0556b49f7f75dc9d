import dataclasses

import numpy as np
import pytest
import torch

from diffserve.embedded.captions import Prompt
from diffserve.embedded.layout import CELL_PX, GRID, exact_plan, layout_targets
from diffserve.embedded.positions import settle
from diffserve.embedded.scenes import JITTER_PX, LAYOUTS, Scene

LAYOUT_NAMES = sorted(LAYOUTS)


def prompt_of(layout):
    concepts = ("cat", "dog", "owl", "fox")[: len(LAYOUTS[layout])]
    return Prompt("", Scene("flat", "pink", layout, concepts), True, True)


def noise(seed=0, count=1):
    return torch.randn(count, 48, GRID, GRID, generator=torch.Generator().manual_seed(seed))


def shifts_of(plan, settled, layout):
    """How far every object was shifted, as the cell in its middle tells."""
    shifts = []
    for slot in LAYOUTS[layout]:
        cell = 0, slice(0, 2), slot.y // CELL_PX, slot.x // CELL_PX
        moved = (plan.geometry[cell] - settled.geometry[cell]) * slot.side / 2
        shifts.append(tuple(round(value, 3) for value in moved.tolist()))
    return shifts


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
def test_a_rough_plan_becomes_exact(layout):
    targets = layout_targets([prompt_of(layout)])
    plan = exact_plan(targets)
    blur = 0.1 * torch.randn(plan.geometry.shape, generator=torch.Generator().manual_seed(1))
    rough = dataclasses.replace(plan, geometry=plan.geometry + blur)
    settled = settle(rough, noise(), max_shift_px=0)
    where = targets.concepts[0] > 0
    assert torch.allclose(settled.geometry[0, :, where], targets.geometry[0, :, where], atol=1e-6)
    assert torch.equal(settled.concepts, rough.concepts)


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
def test_objects_are_shifted_as_those_of_a_training_image_are(layout):
    prompt = prompt_of(layout)
    plan = exact_plan(layout_targets([prompt]))
    settled = settle(plan, noise(3), JITTER_PX)
    shifts = shifts_of(plan, settled, layout)
    assert any(shift != (0, 0) for shift in shifts)
    told = layout_targets([prompt], [shifts])
    where = told.concepts[0] > 0
    assert torch.allclose(settled.geometry[0, :, where], told.geometry[0, :, where], atol=1e-5)


def test_shifts_are_uniform_and_objects_have_their_own():
    count = 2000
    prompt = prompt_of("grid")
    one = exact_plan(layout_targets([prompt]))
    plan = dataclasses.replace(one, geometry=one.geometry.expand(count, -1, -1, -1))
    settled = settle(plan, noise(count=count), JITTER_PX)
    moved = np.stack(
        [
            (plan.geometry - settled.geometry)[:, :2, slot.y // CELL_PX, slot.x // CELL_PX]
            * slot.side
            / 2
            for slot in LAYOUTS["grid"]
        ],
        axis=1,
    )
    values, counts = np.unique(moved.round(3), return_counts=True)
    assert values.tolist() == list(range(-JITTER_PX, JITTER_PX + 1))
    assert counts / moved.size == pytest.approx(np.full(len(values), 1 / len(values)), abs=0.02)
    correlations = np.corrcoef(moved.reshape(count, -1).T)
    assert np.abs(correlations - np.eye(len(correlations))).max() < 0.1


def test_half_precision_settles_the_same():
    plan = exact_plan(layout_targets([prompt_of("grid")]))
    half = dataclasses.replace(plan, geometry=plan.geometry.bfloat16())
    settled = settle(half, noise(), JITTER_PX).geometry
    assert settled.dtype == torch.bfloat16
    assert torch.allclose(settled.float(), settle(plan, noise(), JITTER_PX).geometry, atol=0.02)
