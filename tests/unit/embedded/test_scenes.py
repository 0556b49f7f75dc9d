import hashlib

import numpy as np
import pytest

from diffserve.embedded.concepts import BACKGROUND_NAMES, CONCEPT_NAMES, STYLES
from diffserve.embedded.scenes import (
    COUNT_LAYOUTS,
    HELD_OUT_SHARE,
    IMAGE_PX,
    JITTER_PX,
    LAYOUTS,
    Level,
    Scene,
    backdrop,
    is_held_out,
    render,
    render_shifted,
    sample_scene,
    sprite,
)

OWL = Scene("flat", "sky blue", "single", ("owl",))


def test_sampling_is_deterministic():
    first, second = (
        [sample_scene(np.random.default_rng(7), level) for level in Level] for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("level", Level)
def test_a_sampled_scene_is_of_its_level_and_of_the_training_side(level):
    rng = np.random.default_rng(0)
    for _ in range(200):
        scene = sample_scene(rng, level)
        assert scene.level is level
        assert not scene.is_held_out
        assert len(scene.concepts) == len(LAYOUTS[scene.layout])
        if level is Level.COUNT:
            assert scene.layout == COUNT_LAYOUTS[len(scene.concepts)]


@pytest.mark.parametrize("level", [level for level in Level if level is not Level.ONE])
def test_held_out_scenes_never_appear_in_training(level):
    rng = np.random.default_rng(1)
    held_out = {
        (scene.layout, scene.concepts)
        for scene in (sample_scene(rng, level, held_out=True) for _ in range(100))
    }
    seen = {
        (scene.layout, scene.concepts) for scene in (sample_scene(rng, level) for _ in range(2000))
    }
    assert not held_out & seen


def test_the_held_out_share_is_as_declared():
    pairs = [(a, b) for a in CONCEPT_NAMES for b in CONCEPT_NAMES if a != b]
    share = np.mean([is_held_out("row", pair) for pair in pairs])
    assert share == pytest.approx(HELD_OUT_SHARE, abs=0.02)


def test_single_objects_are_never_held_out():
    assert not any(is_held_out("single", (name,)) for name in CONCEPT_NAMES)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shifted_objects_stay_inside_the_image_and_apart(layout):
    slots = LAYOUTS[layout]
    for slot in slots:
        for centre in (slot.x, slot.y):
            assert slot.side / 2 + JITTER_PX <= centre <= IMAGE_PX - slot.side / 2 - JITTER_PX
    for index, one in enumerate(slots):
        for other in slots[index + 1 :]:
            distance = max(abs(one.x - other.x), abs(one.y - other.y))
            assert distance >= one.side + 2 * JITTER_PX


def test_the_reference_render_has_not_changed():
    digest = hashlib.sha256()
    for layout, slots in LAYOUTS.items():
        for style in STYLES:
            digest.update(render(Scene(style, "sunset", layout, ("owl",) * len(slots))).tobytes())
    assert digest.hexdigest()[:16] == "4c60eb65cc765c1e"


def test_rendering_shifts_objects_only_when_given_randomness():
    assert np.array_equal(render(OWL), render(OWL))
    shifted = [render(OWL, np.random.default_rng(seed)) for seed in range(5)]
    assert any(not np.array_equal(image, render(OWL)) for image in shifted)
    assert np.array_equal(shifted[0], render(OWL, np.random.default_rng(0)))


def test_an_object_is_where_its_shift_says():
    moved = render_shifted(OWL, [(2, -1)])
    middle = render(OWL)
    behind = backdrop("sky blue")
    differs = [np.argwhere((image != behind).any(axis=2)).mean(axis=0) for image in (middle, moved)]
    assert np.allclose(differs[1] - differs[0], (-1, 2), atol=0.1)


def test_an_object_covers_its_slot_and_nothing_else():
    image = render(OWL)
    assert image.shape == (IMAGE_PX, IMAGE_PX, 3)
    assert image.dtype == np.uint8
    behind = backdrop("sky blue")
    assert np.array_equal(image[:10], behind[:10])
    assert not np.array_equal(image[10:54, 10:54], behind[10:54, 10:54])


def test_every_backdrop_differs():
    images = {backdrop(name).tobytes() for name in BACKGROUND_NAMES}
    assert len(images) == len(BACKGROUND_NAMES)


def test_every_sprite_is_there_and_differs():
    pixels = set()
    for style in STYLES:
        for concept in CONCEPT_NAMES:
            colour, cover = sprite(style, concept, 28)
            assert cover.mean() > 20
            assert (colour <= cover).all()
            pixels.add(colour.tobytes())
    assert len(pixels) == len(STYLES) * len(CONCEPT_NAMES)
