"""Distances to reference renders, as an independent network sees them."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest

from diffserve.embedded.captions import Prompt
from diffserve.embedded.concepts import BACKGROUND_NAMES, STYLES
from diffserve.embedded.features import ImageFeatures, answers, reference_distances
from diffserve.embedded.scenes import Scene, render
from diffserve.errors import ConfigError

SCENE = Scene("flat", BACKGROUND_NAMES[0], "row", ("cat", "dog"))
PROMPT = Prompt("a cat left of a dog", SCENE, names_style=True, names_background=True)


@pytest.fixture(scope="module")
def features() -> ImageFeatures:
    return ImageFeatures()


def test_the_reference_is_nearest_and_the_wrong_scene_farthest(features: ImageFeatures) -> None:
    swapped = dataclasses.replace(SCENE, concepts=SCENE.concepts[::-1])
    drawings = [
        render(SCENE),
        render(SCENE, np.random.default_rng(0)),
        render(swapped),
    ]
    reference, shifted, wrong = reference_distances(features, drawings, PROMPT)
    assert reference == pytest.approx(0.0, abs=1e-4)
    assert reference < shifted < 0.5 < wrong


def test_what_a_prompt_leaves_open_may_be_anything(features: ImageFeatures) -> None:
    any_style = dataclasses.replace(PROMPT, names_style=False)
    sketch = render(dataclasses.replace(SCENE, style="sketch"))
    (fixed,) = reference_distances(features, [sketch], PROMPT)
    (open_,) = reference_distances(features, [sketch], any_style)
    assert open_ == pytest.approx(0.0, abs=1e-4)
    assert fixed > 0.3
    everything_open = dataclasses.replace(any_style, names_background=False)
    assert len(answers(everything_open)) == len(STYLES) * len(BACKGROUND_NAMES)
    assert answers(PROMPT) == [SCENE]


def test_pooled_features_are_one_vector_an_image(features: ImageFeatures) -> None:
    images = np.stack([render(SCENE), render(SCENE), np.zeros((64, 64, 3), np.uint8)])
    pooled = features.pooled(images)
    assert pooled.shape == (3, 1280)
    assert np.allclose(pooled[0], pooled[1], atol=1e-5)
    assert not np.allclose(pooled[0], pooled[2], atol=0.1)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ConfigError, match=r"diffserve\[evaluate\]"):
        ImageFeatures()
