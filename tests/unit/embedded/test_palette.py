import dataclasses

import pytest
import torch

from diffserve.embedded.captions import Prompt
from diffserve.embedded.layout import GRID, exact_plan, layout_targets
from diffserve.embedded.networks import SIZES, new_palette
from diffserve.embedded.scenes import Scene

SCENE = Scene("flat", "pink", "row", ("cat", "dog"))


@pytest.fixture(scope="module")
def palette():
    torch.manual_seed(0)
    return new_palette(SIZES["heavy"])


def features(palette, **changes):
    scene = dataclasses.replace(SCENE, **changes)
    plan = exact_plan(layout_targets([Prompt("", scene, True, True)]))
    with torch.no_grad():
        return palette(plan)


def test_every_cell_gets_features(palette):
    assert features(palette).shape == (1, SIZES["heavy"].palette_width, GRID, GRID)


@pytest.mark.parametrize(
    "changes",
    [{"concepts": ("dog", "cat")}, {"style": "sketch"}, {"background": "night"}],
)
def test_concepts_their_order_style_and_background_matter(palette, changes):
    assert not torch.allclose(features(palette), features(palette, **changes), atol=1e-4)


def test_equal_objects_look_equal_wherever_they_are(palette):
    left, right = features(palette, concepts=("cat", "cat"))[0].chunk(2, dim=2)
    assert torch.allclose(left, right, atol=1e-4)


def test_a_certain_plan_looks_up_the_tables_rows(palette):
    plan = exact_plan(layout_targets([Prompt("", SCENE, True, True)]))
    before = palette.table.detach().clone()
    palette(plan).square().mean().backward()
    touched = palette.table.grad.abs().sum(dim=(1, 2)).nonzero().flatten().tolist()
    palette.table.grad = None
    assert len(touched) == 2
    assert torch.equal(palette.table, before)
