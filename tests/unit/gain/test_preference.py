"""The judge's arithmetic, against a hand computation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from diffserve.gain.preference import preferences, scores_of, similarities


def test_a_score_is_the_scale_times_the_cosine() -> None:
    images = np.array([[1.0, 0.0], [0.6, 0.8]], np.float32)
    texts = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    assert similarities(images, texts) == pytest.approx([1.0, 0.8])
    assert scores_of(images, texts, 100.0) == pytest.approx([100.0, 80.0])


def test_quality_is_the_softmax_of_two_scores() -> None:
    found = preferences(
        {"quick": np.array([20.0, 22.0, 19.0]), "good": np.array([21.0, 21.0, 21.0])}
    )
    assert found.best == "good"
    assert found.qualities["good"].tolist() == [0.5, 0.5, 0.5]
    by_hand = [math.exp(s) / (math.exp(s) + math.exp(21.0)) for s in (20.0, 22.0, 19.0)]
    assert found.qualities["quick"] == pytest.approx(by_hand)
    assert found.qualities["quick"][1] > 0.5, "a light image may be the better one"


def test_scores_far_apart_do_not_overflow() -> None:
    found = preferences({"a": np.array([1e6, -1e5]), "b": np.array([0.0, 0.0])})
    assert found.best == "a"
    assert found.qualities["b"].tolist() == [0.0, 1.0]


def test_of_equal_means_the_first_is_the_best() -> None:
    assert preferences({"a": np.array([1.0, 3.0]), "b": np.array([3.0, 1.0])}).best == "a"
