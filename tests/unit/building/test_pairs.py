"""Cascades from paired outcomes: what is deferred, what that gives and what it costs."""

from __future__ import annotations

import numpy as np
import pytest

from diffserve.building.pairs import (
    OperatingPoint,
    PairedOutcomes,
    cheapest,
    gain_of_deferring,
    pareto_best,
)

LIGHT = np.array([1.0, 0.0, 1.0, 0.0])
HEAVY = np.array([0.0, 1.0, 1.0, 1.0])


def outcomes(confidences: list[float]) -> PairedOutcomes:
    return PairedOutcomes(
        light=LIGHT,
        heavy=HEAVY,
        confidences=np.array(confidences),
        light_s=0.1,
        heavy_s=1.0,
        scoring_s=0.05,
    )


def test_the_least_confident_are_deferred_first() -> None:
    points = outcomes([0.9, 0.1, 0.8, 0.2]).points((0.0, 0.25, 0.5, 1.0))
    assert [point.quality for point in points] == pytest.approx([0.5, 0.75, 1.0, 0.75])
    assert [point.device_s for point in points] == pytest.approx([0.15, 0.40, 0.65, 1.15])


def test_equal_confidences_are_random_routing_whatever_the_order_of_the_prompts() -> None:
    qualities = [point.quality for point in outcomes([0.5] * 4).points((0.0, 0.4, 1.0))]
    assert qualities == pytest.approx([0.5, 0.5 + 0.4 * 0.25, 0.75])


def test_a_share_between_two_images_is_between_their_gains() -> None:
    gains = gain_of_deferring(np.array([0.1, 0.2]), np.array([1.0, 0.0]), (0.25, 0.5, 0.75))
    assert gains.tolist() == pytest.approx([0.25, 0.5, 0.5])


def test_answers_that_are_right_or_wrong_vary_as_much_as_they_can() -> None:
    assert outcomes([0.9, 0.1, 0.8, 0.2]).spreads() == pytest.approx([1.0] * 101)


def test_answers_of_one_quality_do_not_vary() -> None:
    mixed = PairedOutcomes(
        light=np.array([0.2, 0.6]),
        heavy=np.array([0.5, 0.5]),
        confidences=np.array([0.1, 0.9]),
        light_s=0.1,
        heavy_s=1.0,
        scoring_s=0.0,
    )
    nothing, half, everything = mixed.spreads((0.0, 0.5, 1.0))
    assert nothing == pytest.approx(0.2 / (0.4 * 0.6) ** 0.5)
    assert half == pytest.approx(0.05 / (0.55 * 0.45) ** 0.5)
    assert everything == 0.0


def test_the_cheapest_point_that_is_good_enough() -> None:
    points = outcomes([0.9, 0.1, 0.8, 0.2]).points()
    chosen = cheapest(points, 0.74)
    assert chosen is not None
    assert chosen.fraction == pytest.approx(0.24)
    assert cheapest(points, 1.01) is None


def test_beaten_points_are_left_out() -> None:
    cheap, beaten, dear = (
        OperatingPoint(fraction=0.0, quality=quality, device_s=device_s)
        for quality, device_s in ((0.5, 1.0), (0.4, 2.0), (0.9, 3.0))
    )
    assert pareto_best([dear, beaten, cheap]) == [cheap, dear]


def test_every_prompt_needs_both_images() -> None:
    with pytest.raises(ValueError, match=r"\(4,\), \(4,\) and \(3,\)"):
        outcomes([0.1, 0.2, 0.3])
