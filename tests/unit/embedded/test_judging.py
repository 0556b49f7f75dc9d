import numpy as np
import pytest

from diffserve.embedded.captions import sample_prompt
from diffserve.embedded.judging import LEVELS, Judged, judge_images
from diffserve.embedded.scenes import Level

IMAGE = np.zeros((64, 64, 3), np.uint8)


def test_both_models_draw_every_prompt_and_the_oracle_judges(untrained_light, untrained_heavy):
    judged = judge_images(untrained_light, untrained_heavy, count=2, seed=0)
    for drawn in judged:
        assert drawn.light.shape == drawn.heavy.shape == (64, 64, 3)
        assert not drawn.is_light_right
        assert not drawn.is_heavy_right
        assert not drawn.is_gain


@pytest.mark.parametrize(
    ("light", "heavy", "gain"),
    [(True, True, False), (False, True, True), (True, False, False), (False, False, False)],
)
def test_a_gain_is_a_wrong_image_that_heavy_gets_right(light, heavy, gain):
    prompt = sample_prompt(np.random.default_rng(0), Level.ONE)
    assert Judged(prompt, IMAGE, IMAGE, light, heavy).is_gain is gain


def test_levels_are_shares():
    assert sum(LEVELS.values()) == pytest.approx(1)
    assert set(LEVELS) == set(Level)
