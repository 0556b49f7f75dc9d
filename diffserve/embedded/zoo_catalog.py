"""Writes the cascades that were chosen from the zoo as a catalog that the services load."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffserve.embedded.calibration import EXAMPLES, SLO_S, deferral_profile, quality_curve
from diffserve.embedded.choice import Candidate, Choice
from diffserve.embedded.evaluate import DISCRIMINATORS
from diffserve.embedded.presets import Preset
from diffserve.embedded.scenes import IMAGE_PX

QUALITY_METRIC = (
    "share of images that show what the prompt asks for (slot checker, held-out prompts)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a variant takes on the device at hand.

    Attributes:
        execution_s: Median seconds by batch size, not decreasing.
        execution_s_p95: 95th percentile by batch size.
        memory_bytes: Of its weights.
        load_s: Seconds to load them.
    """

    execution_s: Mapping[int, float]
    execution_s_p95: Mapping[int, float]
    memory_bytes: int
    load_s: float


def cascade_id(candidate: Candidate) -> str:
    """Return the name of a cascade: its variants'."""
    return f"{candidate.name.light}-{candidate.name.heavy}"


def catalog_text(
    choice: Choice,
    presets: Mapping[str, Preset],
    profiles: Mapping[str, Profile],
    weights: Path,
    folder: Path,
) -> str:
    """Return a catalog of the default cascade and all others that are kept, as TOML.

    Args:
        choice: What was chosen.
        presets: Every variant's settings, by name.
        profiles: Every variant's costs.
        weights: Folder of the models' folders.
        folder: Where the catalog will be; sources are relative to it.
    """
    root = Path(os.path.relpath(weights.resolve(), folder.resolve()))
    served = [c for c in choice.candidates if c.is_kept or c is choice.default]
    names = sorted({c.name.discriminator for c in served})
    return "\n".join(
        (
            "# Made by `diffserve cascade build`: latencies in seconds by batch size on the device",
            "# at hand, curves on held-out prompts; the default is the cheapest cascade that keeps",
            "# the quality asked for.",
            f'default_cascade = "{cascade_id(choice.default)}"',
            EXAMPLES,
            *(_variant(presets[name], profiles[name], root) for name in presets),
            *(_discriminator(name, root) for name in names),
            *(_cascade(candidate) for candidate in served),
        )
    )


def _variant(preset: Preset, profile: Profile, root: Path) -> str:
    table = ", ".join(f"{size} = {s:.4f}" for size, s in profile.execution_s.items())
    return f"""[variant.{preset.name}]
base = "{preset.folder}"
pipeline = "diffserve.embedded.pipeline:EmojiScenePipeline"
source = "{root / preset.folder}"
num_inference_steps = {preset.num_inference_steps}
guidance_scale = {preset.guidance_scale}
width = {IMAGE_PX}
height = {IMAGE_PX}
size_multiple = {IMAGE_PX}
size_max = {8 * IMAGE_PX}
memory_bytes = {profile.memory_bytes}
load_s = {profile.load_s:.3f}
latency_s = {{ {table} }}
"""


def _discriminator(name: str, root: Path) -> str:
    kind = DISCRIMINATORS[name]
    return f"""[discriminator.{name}]
scorer = "{kind.__module__}:{kind.__name__}"
source = "{root / name}"
"""


def _cascade(candidate: Candidate) -> str:
    outcomes = candidate.outcomes
    confidences = outcomes.confidences.astype(np.float32)
    deferral = deferral_profile(confidences)
    light, heavy = outcomes.light > 0.0, outcomes.heavy > 0.0
    quality = quality_curve(confidences, light, heavy, QUALITY_METRIC)
    name, point = cascade_id(candidate), candidate.point
    quality_text, device_text = f"{100 * point.quality:.1f} %", f"{1e3 * point.device_s:.0f} ms"
    return f"""# {quality_text} right in {device_text} of device time, deferring {point.fraction:g}.
[cascade.{name}]
light = "{candidate.name.light}"
heavy = "{candidate.name.heavy}"
discriminator = "{candidate.name.discriminator}"
slo_s = {SLO_S}

[cascade.{name}.deferral]
thresholds = {list(deferral.thresholds)}
fractions = {list(deferral.fractions)}

[cascade.{name}.quality]
metric = "{quality.metric}"
fractions = {list(quality.fractions)}
qualities = {list(quality.qualities)}
"""
