from __future__ import annotations

import math
from itertools import pairwise

import pytest

from diffserve.experiments.drawing import LOOKS, look, smoothed, spaced


def test_every_system_looks_different() -> None:
    assert len({chosen.color for chosen in LOOKS.values()}) == len(LOOKS)
    assert len({chosen.marker for chosen in LOOKS.values()}) == len(LOOKS)
    assert look("diffserve") is LOOKS["diffserve"]
    assert look("something new") is look("something new")


def test_means_skip_what_is_missing() -> None:
    assert smoothed([1.0, None, 3.0], 3) == [1.0, 2.0, 3.0]
    assert math.isnan(smoothed([None], 5)[0])
    assert smoothed([1.0, 2.0], 1) == [1.0, 2.0]


@pytest.mark.parametrize("heights", [[], [0.5], [0.0, 0.0, 0.0], [0.1, 0.5, 0.9], [0.9, 0.9, 1.0]])
def test_labels_keep_their_distance(heights: list[float]) -> None:
    moved = spaced(heights, 0.1)
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(moved))
    assert all(height >= 0.0 for height in moved)


def test_labels_that_do_not_touch_stay() -> None:
    assert spaced([0.1, 0.5, 0.9], 0.1) == pytest.approx([0.1, 0.5, 0.9])
