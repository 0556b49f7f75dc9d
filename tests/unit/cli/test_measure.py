"""Sums of a live measurement; the measurement itself needs a deployment."""

from __future__ import annotations

import numpy as np
import pytest

measure = pytest.importorskip("diffserve.cli.measure")  # needs torch


def outcome(device_s: float, *, is_deferred: bool = False) -> object:
    image = np.zeros((64, 64, 3), np.uint8)
    return measure.Outcome(image=image, device_s=device_s, is_deferred=is_deferred)


def test_accuracy_and_device_time_are_told_against_heavy_alone() -> None:
    cascade = [outcome(0.1), outcome(0.7, is_deferred=True)]
    heavy = [outcome(0.6, is_deferred=True), outcome(1.0, is_deferred=True)]
    found = measure.summary(cascade, heavy, [True, False], [True, True])
    assert found["accuracy"] == 0.5
    assert found["accuracy_vs_heavy"] == 0.5
    assert found["device_time_vs_heavy"] == pytest.approx(0.5)
    assert found["heavy_share"] == 0.5


def test_prompts_come_from_every_level_and_repeat_with_their_seed() -> None:
    prompts = measure.held_out_prompts(24, seed=3)
    assert [p.text for p in prompts] == [p.text for p in measure.held_out_prompts(24, seed=3)]
    assert [p.text for p in prompts] != [p.text for p in measure.held_out_prompts(24, seed=4)]
    numbers = {len(prompt.scene.objects) for prompt in prompts}
    assert {1, 2, 3, 4} <= numbers
