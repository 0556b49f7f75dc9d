"""The sketch ranks confidences and turns shares into thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from diffserve.profiles.curves import DeferralProfile
from diffserve.profiles.sketch import (
    NUM_BORROWED_SCORES,
    NUM_PROFILE_SCORES,
    QuantileSketch,
    newcomer_sketch,
    profile_sketch,
    representative_scores,
    score_of_rank,
)


def test_percentile_is_the_share_below_with_ties_counted_half() -> None:
    sketch = QuantileSketch(8, [0.1, 0.2, 0.2, 0.9])
    assert sketch.percentile(0.05) == 0.0
    assert sketch.percentile(0.2) == 0.5
    assert sketch.percentile(0.5) == 0.75
    assert sketch.percentile(1.0) == 1.0


def test_threshold_defers_the_share_asked_for() -> None:
    sketch = QuantileSketch(100, [n / 100 for n in range(100)])
    for fraction in (0.0, 0.13, 0.5, 0.99):
        below = sum(score < sketch.threshold(fraction) for score in sketch.scores())
        assert below == round(100 * fraction)
    assert sketch.threshold(1.0) == 1.0


def test_the_oldest_score_leaves_first() -> None:
    sketch = QuantileSketch(3, [0.9, 0.1, 0.2, 0.3])
    assert sketch.scores() == (0.1, 0.2, 0.3)
    assert len(sketch) == 3
    assert sketch.percentile(0.5) == 1.0


def test_an_empty_sketch_knows_nothing() -> None:
    sketch = QuantileSketch(4)
    assert sketch.percentile(0.7) == 0.5
    assert sketch.threshold(0.5) == 0.0


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_scores_outside_the_unit_interval_are_refused(score: float) -> None:
    with pytest.raises(ValueError, match="outside"):
        QuantileSketch(4).add(score)


def test_a_sketch_holds_something() -> None:
    with pytest.raises(ValueError, match="capacity"):
        QuantileSketch(0)


SKEWED = DeferralProfile((0.0, 0.2, 0.5, 0.6, 0.9), (0.0, 0.5, 0.5, 0.8, 0.95))


def test_representative_scores_repeat_the_profile() -> None:
    sketch = QuantileSketch(1000, representative_scores(SKEWED, 1000))
    for threshold, fraction in zip(SKEWED.thresholds, SKEWED.fractions, strict=True):
        below = sum(score < threshold for score in sketch.scores()) / 1000
        assert below == pytest.approx(fraction, abs=0.002)
    assert all(0.0 <= score <= 1.0 for score in sketch.scores())


def test_every_stretch_of_them_has_the_same_shape() -> None:
    scores = representative_scores(SKEWED, 512)
    for start in range(0, 512, 128):
        stretch = scores[start : start + 128]
        below = sum(score < 0.55 for score in stretch) / 128
        assert below == pytest.approx(SKEWED.fraction_at(0.55), abs=0.05)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 64])
def test_any_number_of_them_can_be_had(count: int) -> None:
    assert len(representative_scores(SKEWED, count)) == count


def test_score_of_rank_inverts_the_profile() -> None:
    assert score_of_rank(SKEWED, 0.0) == 0.0
    assert score_of_rank(SKEWED, 0.25) == pytest.approx(0.1)
    assert score_of_rank(SKEWED, 0.65) == pytest.approx(0.55)
    assert score_of_rank(SKEWED, 1.0) == 1.0


@pytest.mark.parametrize(("capacity", "count"), [(64, 64), (2048, NUM_PROFILE_SCORES)])
def test_a_sketch_of_a_profile_is_outvoted_soon(capacity: int, count: int) -> None:
    sketch = profile_sketch(SKEWED, capacity)
    assert len(sketch) == count
    assert sketch.percentile(0.55) == pytest.approx(SKEWED.fraction_at(0.55), abs=0.02)


def test_a_newcomer_borrows_from_all_others_alike() -> None:
    many = QuantileSketch(1000, [n / 2000 for n in range(1000)])
    few = QuantileSketch(1000, [0.5 + n / 20 for n in range(10)])
    sketch = newcomer_sketch([many, few, QuantileSketch(4)], 64)
    assert len(sketch) == NUM_BORROWED_SCORES
    assert sketch.percentile(0.5) == pytest.approx(0.5, abs=0.07)
    ranks = [sketch.percentile(n / 10) for n in range(11)]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) > NUM_BORROWED_SCORES / 2


def test_a_newcomer_without_others_starts_empty() -> None:
    assert len(newcomer_sketch([], 64)) == 0
    assert len(newcomer_sketch([QuantileSketch(4)], 64)) == 0


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.3), (0.6, 1.0)])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_a_newcomer_unlike_all_others_has_its_own_ranks_soon(
    low: float, high: float, share: float
) -> None:
    sketch = newcomer_sketch([QuantileSketch(100, [0.3 + n / 333 for n in range(100)])], 2048)
    own = np.random.default_rng(1).uniform(low, high, 500).tolist()
    deferred = []
    for score in own:
        deferred.append(sketch.percentile(score) < share)
        sketch.add(score)
    assert abs(np.mean(deferred[:100]) - share) < 0.2
    assert abs(np.mean(deferred[100:]) - share) < 0.06


def test_forgetting_leaves_the_newest() -> None:
    sketch = QuantileSketch(4, [0.9, 0.8, 0.1, 0.2])
    sketch.forget(2)
    assert sketch.scores() == (0.1, 0.2)
    assert sketch.percentile(0.5) == 1.0
    for score in (0.3, 0.4, 0.5):
        sketch.add(score)
    assert sketch.scores() == (0.2, 0.3, 0.4, 0.5)
    sketch.forget(99)
    assert len(sketch) == 4


@pytest.mark.parametrize(("size", "count"), [(1000, 10), (3, 10), (10, 10), (0, 4)])
def test_quantiles_are_spread_evenly_over_the_window(size: int, count: int) -> None:
    sketch = QuantileSketch(2000, [((7 * index) % size) / size for index in range(size)])
    quantiles = sketch.quantiles(count)
    assert len(quantiles) == min(size, count)
    assert list(quantiles) == sorted(quantiles)
    ranks = [sketch.percentile(value) for value in quantiles]
    assert ranks == pytest.approx(
        [(index + 0.5) / len(quantiles) for index in range(len(quantiles))], abs=1 / (size or 1)
    )
