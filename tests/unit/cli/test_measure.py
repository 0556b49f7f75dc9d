"""Sums of a live measurement; the measurement itself needs a deployment."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from diffserve.client.values import GeneratedImage
from diffserve.core import Outcome

measure = pytest.importorskip("diffserve.cli.measure")  # needs torch


def drawn(device_s: float, *, is_deferred: bool = False) -> Any:
    image = np.zeros((64, 64, 3), np.uint8)
    return measure.Drawn(image=image, device_s=device_s, is_deferred=is_deferred)


def answer(outcome: Outcome, stage_s: dict[str, float]) -> GeneratedImage:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), (10, 20, 30)).save(data, "png")
    return GeneratedImage(
        data=data.getvalue(),
        media_type="image/png",
        width=64,
        height=64,
        query_id="q",
        outcome=outcome,
        variant="v",
        cascade="c",
        confidence=0.5,
        percentile=0.5,
        seed=1,
        reason="",
        unknown_words=(),
        stage_s=stage_s,
    )


def test_accuracy_and_device_time_are_told_against_heavy_alone() -> None:
    cascade = [drawn(0.1), drawn(0.7, is_deferred=True)]
    heavy = [drawn(0.6, is_deferred=True), drawn(1.0, is_deferred=True)]
    found = measure.summary(cascade, heavy, [True, False], [True, True])
    assert found["accuracy"] == 0.5
    assert found["accuracy_vs_heavy"] == 0.5
    assert found["device_time_vs_heavy"] == pytest.approx(0.5)
    assert found["heavy_share"] == 0.5


def test_only_what_devices_did_counts_as_device_time() -> None:
    stage_s = {
        "light_queue": 1.0,
        "light_execution": 0.1,
        "scoring": 0.02,
        "heavy_queue": 2.0,
        "heavy_execution": 0.4,
        "total": 3.6,
    }
    found = measure.Drawn.of(answer(Outcome.HEAVY, stage_s))
    assert found.device_s == pytest.approx(0.52)
    assert found.is_deferred
    assert found.image[0, 0].tolist() == [10, 20, 30]
    assert not measure.Drawn.of(answer(Outcome.LIGHT_FALLBACK, stage_s)).is_deferred


def test_prompts_take_turns_among_the_levels_and_repeat_with_their_seed() -> None:
    def texts(seed: int) -> list[str]:
        request = measure.Request(catalog="", share=None, count=4, num_workers=1, seed=seed)
        return [prompt.text for prompt in measure.prompts_of(request)]

    assert texts(3) == texts(3) != texts(4)
    for start, level in enumerate(measure.Level):
        of_level = measure.evaluation_prompts(level, 4, 3)
        assert texts(3)[start :: len(measure.Level)] == [prompt.text for prompt in of_level]
