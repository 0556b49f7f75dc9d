"""Fréchet and kernel distance of sets of features."""

from __future__ import annotations

import numpy as np
import pytest

from diffserve.embedded.set_distances import frechet_distance, kernel_distance


def normal(count: int, *, mean: float = 0.0, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((count, 4))
    return (mean + scale * values).astype(np.float32)


def test_frechet_distance_of_normal_distributions_is_the_textbooks() -> None:
    first, second = normal(20_000), normal(20_000, mean=1.0, scale=3.0, seed=1)
    # Per dimension: the shift squared, plus the squared difference of the deviations.
    assert frechet_distance(first, second) == pytest.approx(4 * (1.0 + 4.0), rel=0.05)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_distances_are_symmetric_and_grow_with_the_shift(distance) -> None:
    here, near, far = normal(300), normal(300, mean=0.5, seed=1), normal(300, mean=2.0, seed=2)
    assert distance(here, near) == pytest.approx(distance(near, here))
    assert distance(here, near) < distance(here, far)


def test_a_set_is_at_no_distance_from_itself() -> None:
    few = normal(3)  # fewer than dimensions, so that the covariance has no full rank
    assert frechet_distance(few, few) == pytest.approx(0.0, abs=1e-6)


def test_kernel_distance_of_one_distribution_is_unbiased() -> None:
    distances = [kernel_distance(normal(50, seed=i), normal(50, seed=1000 + i)) for i in range(40)]
    assert abs(np.mean(distances)) < 2 * np.std(distances) / np.sqrt(len(distances))
    assert min(distances) < 0
