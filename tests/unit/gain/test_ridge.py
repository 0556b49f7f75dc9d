"""Ridge regression: what was planted is found, and what is noise is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from diffserve.gain.ridge import PENALTIES, Fit, features_of, fit

DIM = 24


def unit_vectors(seed: int, count: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, DIM))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def predicted(found: Fit, features: np.ndarray) -> np.ndarray:
    return features @ found.weights + found.intercept


def test_a_planted_gain_is_found_with_fewer_rows_than_features() -> None:
    images, texts = unit_vectors(0, 120), unit_vectors(1, 120)
    direction = np.random.default_rng(2).standard_normal(DIM)
    gains = 0.1 + images @ direction + 2.0 * (images * texts).sum(axis=1)
    features = features_of(images, texts)
    assert features.shape == (120, 3 * DIM + 1)
    found = fit(features[:60], gains[:60])
    unseen = np.corrcoef(predicted(found, features[60:]), gains[60:])[0, 1]
    assert unseen > 0.7
    assert np.isfinite(found.penalty)


def test_a_hundred_prompts_suffice_to_learn_the_cosine_among_many_features() -> None:
    generator = np.random.default_rng(11)
    images, texts = (
        v / np.linalg.norm(v, axis=1, keepdims=True)
        for v in generator.standard_normal((2, 200, 512)) / np.sqrt(1.0 + np.arange(512))
    )
    gains = -(images * texts).sum(axis=1)
    features = features_of(images, texts)
    noise = 0.5 * gains.std() * generator.standard_normal(100)
    found = predicted(fit(features[:100], gains[:100] + noise), features[100:])
    assert np.corrcoef(found, gains[100:])[0, 1] > 0.9


def test_noise_is_answered_with_the_mean() -> None:
    features = features_of(unit_vectors(4, 60), unit_vectors(5, 60))
    gains = np.random.default_rng(3).standard_normal(60)
    unseen = features_of(unit_vectors(6, 500), unit_vectors(7, 500))
    found = predicted(fit(features, gains), unseen)
    assert np.abs(found - gains.mean()).max() < 0.3 * gains.std()


def test_left_out_predictions_are_what_leaving_out_gives() -> None:
    features = features_of(unit_vectors(8, 30), unit_vectors(9, 30))
    gains = features[:, :DIM] @ np.arange(DIM) + 0.3 * np.random.default_rng(1).standard_normal(30)
    found = fit(features, gains)
    # By hand: the same scales and penalty, each row left out in turn.
    blocks = np.split(features, [DIM, 2 * DIM, 3 * DIM], axis=1)
    scaled = np.concatenate([b / np.sqrt(b.var(axis=0).sum()) for b in blocks], axis=1)
    for row in range(5):
        others = np.arange(30) != row
        x, y = scaled[others], gains[others]
        centred = x - x.mean(axis=0)
        inverse = np.linalg.inv(centred.T @ centred + found.penalty * np.eye(3 * DIM + 1))
        weights = inverse @ centred.T @ (y - y.mean())
        by_hand = y.mean() + (scaled[row] - x.mean(axis=0)) @ weights
        assert found.left_out[row] == pytest.approx(by_hand)


def test_equal_gains_and_equal_features_are_no_trouble() -> None:
    features = features_of(unit_vectors(0, 10), unit_vectors(1, 10))
    same = fit(features, np.full(10, 0.25))
    assert predicted(same, features) == pytest.approx(np.full(10, 0.25))
    noise = 1e-7 * np.random.default_rng(2).standard_normal(features.shape)
    rounded = fit(np.ones_like(features) + noise, np.arange(10.0))
    assert np.abs(rounded.weights).max() < 1e3, "what rounding did is not blown up"
    alike = fit(np.ones((10, 3 * DIM + 1)), np.arange(10.0))
    assert predicted(alike, np.ones((2, 3 * DIM + 1))) == pytest.approx([4.5, 4.5])
    assert alike.penalty == PENALTIES[0] == np.inf


@pytest.mark.parametrize(("rows", "gains"), [(2, 2), (5, 4)])
def test_too_few_rows_are_refused(rows: int, gains: int) -> None:
    with pytest.raises(ValueError, match="3 at least"):
        fit(np.ones((rows, 4)), np.ones(gains))
