import torch

from diffserve.embedded.captions import Prompt
from diffserve.embedded.concepts import CONCEPT_NAMES, STYLES
from diffserve.embedded.layout import GRID, exact_plan, layout_targets
from diffserve.embedded.scenes import Scene

CAT_LEFT_OF_DOG = Prompt("", Scene("flat", "pink", "row", ("cat", "dog")), True, False)


def test_concepts_are_where_the_scene_has_them():
    concepts = layout_targets([CAT_LEFT_OF_DOG]).concepts[0]
    middle = GRID // 2
    assert (concepts[middle, 1:7] == 1 + CONCEPT_NAMES.index("cat")).all()
    assert (concepts[middle, 9:15] == 1 + CONCEPT_NAMES.index("dog")).all()
    assert (concepts[0] == 0).all()


def test_geometry_grows_from_left_to_right_and_from_top_to_bottom():
    across, down, side = layout_targets([CAT_LEFT_OF_DOG]).geometry[0]
    middle = GRID // 2
    assert (across[middle, 1:7].diff() > 0).all()
    assert (down[5:11, 3].diff() > 0).all()
    assert side[middle, 3] == 28 / 64
    assert side[0, 0] == 0


def test_only_what_the_caption_names_is_fixed():
    targets = layout_targets([CAT_LEFT_OF_DOG])
    assert targets.styles.tolist() == [1 + STYLES.index("flat")]
    assert targets.backgrounds.tolist() == [0]


def test_the_empty_caption_says_nothing_at_all():
    plan = exact_plan(layout_targets([None]))
    assert (plan.concepts[:, 0] == 1).all()
    assert (plan.styles[:, 0] == 1).all()
    assert (plan.backgrounds[:, 0] == 1).all()
    assert not plan.geometry.any()


def test_a_plan_can_move_to_another_device():
    plan = exact_plan(layout_targets([CAT_LEFT_OF_DOG]))
    assert plan.to(torch.device("meta")).concepts.device.type == "meta"
