"""Measures what the zoo's variants take on the device at hand: latency, memory, load time."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from diffserve.building.catalog_file import Profile
from diffserve.embedded.evaluate import draw, load_pipeline, sheet_prompts
from diffserve.embedded.pipeline import EmojiScenePipeline
from diffserve.embedded.presets import HEAVY, LIGHT, MEDIUM, TINY, Preset

BATCH_SIZES: Mapping[str, Sequence[int]] = {
    TINY.name: (1, 2, 4, 8, 16),
    LIGHT.name: (1, 2, 4, 8, 16),
    MEDIUM.name: (1, 2, 4, 8),
    HEAVY.name: (1, 2, 4),
}
NUM_ROUNDS = 7
"""Runs of each batch size after the one that plans its kernels."""


def profile(preset: Preset, weights: Path, batch_sizes: Sequence[int] | None = None) -> Profile:
    """Profile a variant, on one thread; seconds of the wall clock, as a worker reports them.

    Args:
        preset: Which.
        weights: Folder of the models' folders.
        batch_sizes: Ascending; None: those of its catalog.
    """
    torch.set_num_threads(1)
    began_s = time.perf_counter()
    pipeline = load_pipeline(preset, weights)
    texts = sheet_prompts()
    draw(pipeline, preset, texts[:1], 0)  # a worker serves nothing before its warm-up either
    load_s = time.perf_counter() - began_s
    seconds = {
        size: _timed(functools.partial(draw, pipeline, preset, texts[:size], 0))
        for size in batch_sizes or BATCH_SIZES[preset.name]
    }
    medians = np.maximum.accumulate([np.median(s) for s in seconds.values()])
    return Profile(
        execution_s=dict(zip(seconds, map(float, medians), strict=True)),
        execution_s_p95={size: float(np.quantile(s, 0.95)) for size, s in seconds.items()},
        memory_bytes=_weight_bytes(pipeline),
        load_s=load_s,
    )


def _timed(run: Callable[[], object]) -> list[float]:
    run()
    found = []
    for _ in range(NUM_ROUNDS):
        began_s = time.perf_counter()
        run()
        found.append(time.perf_counter() - began_s)
    return found


def _weight_bytes(pipeline: EmojiScenePipeline) -> int:
    modules = (pipeline.unet, pipeline.text_encoder, pipeline.palette)
    return sum(p.numel() * p.element_size() for module in modules for p in module.parameters())
