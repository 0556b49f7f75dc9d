import math

import numpy as np
import pytest

from diffserve.embedded.grading import auroc, gain_share

LIGHT = np.array([True, False, True, False, False])
HEAVY = np.array([True, True, True, True, False])


@pytest.mark.parametrize(
    ("confidences", "verdicts", "expected"),
    [
        ([0.9, 0.8, 0.1], [True, True, False], 1.0),
        ([0.1, 0.2, 0.9], [True, True, False], 0.0),
        ([0.5, 0.5], [True, False], 0.5),
        ([0.9, 0.3, 0.5, 0.1], [True, True, False, False], 0.75),
    ],
)
def test_auroc(confidences, verdicts, expected):
    assert auroc(np.array(confidences, np.float32), np.array(verdicts)) == pytest.approx(expected)


def test_auroc_needs_both_verdicts():
    assert math.isnan(auroc(np.array([0.5], np.float32), np.array([True])))


@pytest.mark.parametrize(
    ("confidences", "expected"),
    [
        ([0.9, 0.1, 0.8, 0.2, 0.7], 1.0),  # defers exactly the two images that heavy mends
        ([0.1, 0.9, 0.2, 0.8, 0.7], -2 / 3),  # defers two that are right already
    ],
)
def test_the_oracles_gain_is_one_and_deferring_right_images_is_worse_than_chance(
    confidences, expected
):
    share = gain_share(np.array(confidences, np.float32), LIGHT, HEAVY, 0.4)
    assert share == pytest.approx(expected)


def test_there_may_be_nothing_to_gain():
    assert math.isnan(gain_share(np.zeros(5, np.float32), HEAVY, HEAVY, 0.4))
