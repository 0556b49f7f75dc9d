import math

import numpy as np
import pytest

from diffserve.building.grading import auroc, gain_share

LIGHT = np.array([1.0, 0.0, 1.0, 0.0, 0.0])
HEAVY = np.array([1.0, 1.0, 1.0, 1.0, 0.0])


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


def test_qualities_need_not_be_right_or_wrong():
    light, heavy = np.array([0.2, 0.5, 0.4, 0.6]), np.array([0.6, 0.4, 0.6, 0.3])
    # Of half, the oracle gets 0.4 and 0.2, these confidences 0.4 and -0.1, and chance 0.1 in all.
    share = gain_share(np.array([0.1, 0.2, 0.3, 0.4]), light, heavy, 0.5)
    assert share == pytest.approx((0.3 - 0.1) / (0.6 - 0.1))
