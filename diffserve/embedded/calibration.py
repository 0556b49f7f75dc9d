"""Turns measurements of the embedded models into the catalog that the services load."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diffserve.embedded.pairs import gain_of_deferring
from diffserve.embedded.presets import (
    DISCRIMINATOR_FOLDER,
    HEAVY,
    LIGHT,
    MEDIUM,
    PRESETS,
    REALNESS_FOLDER,
    TINY,
    Preset,
)
from diffserve.embedded.scenes import IMAGE_PX
from diffserve.profiles.curves import DeferralProfile, QualityCurve

BATCH_SIZES: Mapping[str, Sequence[int]] = {
    TINY.name: (1, 2, 4, 8, 16),
    LIGHT.name: (1, 2, 4, 8, 16),
    MEDIUM.name: (1, 2, 4, 8),
    HEAVY.name: (1, 2, 4),
}
SLO_S = 10.0
_NUM_TIMED = 5
_STEP = 1e-6
_FRACTIONS = tuple(round(0.05 * step, 2) for step in range(21))


def deferral_profile(confidences: NDArray[np.float32]) -> DeferralProfile:
    """Return f(t) from the confidences of light images, shape (N,). Paper: §3.2.

    Every fraction of the grid gets a threshold of its own, also where confidences saturate: plans
    are made in fractions, and thresholds are there for people.
    """
    thresholds = np.round(np.quantile(confidences, _FRACTIONS).astype(float), 6)
    thresholds[0], thresholds[-1] = 0.0, 1.0
    last = len(thresholds) - 1
    for index in range(1, last):
        thresholds[index] = max(thresholds[index], thresholds[index - 1] + _STEP)
    for index in reversed(range(1, last)):
        thresholds[index] = min(thresholds[index], thresholds[index + 1] - _STEP)
    return DeferralProfile(tuple(thresholds.round(6).tolist()), _FRACTIONS)


def quality_curve(
    confidences: NDArray[np.float32],
    light_right: NDArray[np.bool_],
    heavy_right: NDArray[np.bool_],
    metric: str,
) -> QualityCurve:
    """Return the share of right answers when the least confident images are drawn again.

    Args:
        confidences: Of the light images, shape (N,).
        light_right: Whether each light image shows what was asked for, shape (N,).
        heavy_right: The same of the heavy image of the same prompt, shape (N,).
        metric: What "right" means, for people.
    """
    gains = heavy_right.astype(float) - light_right.astype(float)
    qualities = light_right.mean() + gain_of_deferring(confidences, gains, _FRACTIONS)
    return QualityCurve(_FRACTIONS, tuple(qualities.round(4).tolist()), metric)


def latency_table(run: Callable[[int], object], batch_sizes: Sequence[int]) -> dict[int, float]:
    """Return the median seconds of ``run(batch_size)`` by batch size, made non-decreasing."""
    table: dict[int, float] = {}
    slowest_s = 0.0
    for batch_size in batch_sizes:
        run(batch_size)  # the first call of a shape also plans its kernels
        seconds = []
        for _ in range(_NUM_TIMED):
            began_s = time.perf_counter()
            run(batch_size)
            seconds.append(time.perf_counter() - began_s)
        slowest_s = max(slowest_s, statistics.median(seconds))
        table[batch_size] = round(slowest_s, 4)
    return table


EXAMPLES = """examples = [
    { kind = "easy", text = "flat style, an owl, sky blue background" },
    { kind = "easy", text = "pixel style, a strawberry, night background" },
    { kind = "hard", text = "sketch style, two rockets above a cat, pink background" },
    { kind = "hard", text = "a dog and a panda above a butterfly, green meadow background" },
]
"""
"""Prompts that the web page offers to try."""


def write_catalog(
    path: Path,
    latency_s: Mapping[str, Mapping[int, float]],
    deferral: DeferralProfile,
    quality: QualityCurve,
) -> None:
    """Write the embedded catalog as TOML; see ``diffserve.catalog`` for its meaning."""
    variants = [_variant(preset, latency_s[preset.name]) for preset in PRESETS]
    path.write_text(
        "# The models that come with DiffServe; `diffserve evaluate --catalog` wrote it:\n"
        "# latencies (seconds by batch size) on one CPU thread, curves on held-out prompts.\n"
        'default_cascade = "sprites"\n'
        + EXAMPLES
        + "\n"
        + "\n".join(variants)
        + f"""
[discriminator.{DISCRIMINATOR_FOLDER}]
scorer = "diffserve.embedded.discriminator:SceneDiscriminator"
source = "../embedded/weights/{DISCRIMINATOR_FOLDER}"

# No cascade here uses it; those that `diffserve cascade build` makes may.
[discriminator.{REALNESS_FOLDER}]
scorer = "diffserve.embedded.realness:RealnessDiscriminator"
source = "../embedded/weights/{REALNESS_FOLDER}"

[cascade.sprites]
light = "{LIGHT.name}"
heavy = "{HEAVY.name}"
discriminator = "{DISCRIMINATOR_FOLDER}"
slo_s = {SLO_S}

[cascade.sprites.deferral]
thresholds = {list(deferral.thresholds)}
fractions = {list(deferral.fractions)}

[cascade.sprites.quality]
metric = "{quality.metric}"
fractions = {list(quality.fractions)}
qualities = {list(quality.qualities)}
"""
    )


def _variant(preset: Preset, latency_s: Mapping[int, float]) -> str:
    table = ", ".join(f"{size} = {seconds}" for size, seconds in latency_s.items())
    return f"""[variant.{preset.name}]
base = "{preset.folder}"
pipeline = "diffserve.embedded.pipeline:EmojiScenePipeline"
source = "../embedded/weights/{preset.folder}"
num_inference_steps = {preset.num_inference_steps}
guidance_scale = {preset.guidance_scale}
width = {IMAGE_PX}
height = {IMAGE_PX}
size_multiple = {IMAGE_PX}
size_max = {8 * IMAGE_PX}
latency_s = {{ {table} }}
"""
