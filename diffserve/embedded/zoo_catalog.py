"""Writes cascades of the zoo as a catalog that the services load."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffserve.embedded.calibration import SLO_S, deferral_profile, quality_curve
from diffserve.embedded.choice import PairName
from diffserve.embedded.evaluate import DISCRIMINATORS
from diffserve.embedded.pairs import PairedOutcomes
from diffserve.embedded.presets import Preset
from diffserve.embedded.scenes import IMAGE_PX

QUALITY_METRIC = (
    "share of images that show what the prompt asks for (slot checker, held-out prompts)"
)
EXAMPLES = """examples = [
    { kind = "easy", text = "flat style, an owl, sky blue background" },
    { kind = "easy", text = "pixel style, a strawberry, night background" },
    { kind = "hard", text = "sketch style, two rockets above a cat, pink background" },
    { kind = "hard", text = "a dog and a panda above a butterfly, green meadow background" },
]
"""
"""Prompts that the web page offers to try."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a variant takes on the device at hand.

    Attributes:
        execution_s: Median seconds by batch size, not decreasing.
        execution_s_p95: 95th percentile by batch size.
        memory_bytes: Of its weights.
        load_s: Seconds to load them and run once.
    """

    execution_s: Mapping[int, float]
    execution_s_p95: Mapping[int, float]
    memory_bytes: int
    load_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A cascade of the catalog.

    Attributes:
        cascade_id: Its name.
        name: Its parts.
        outcomes: What its curves come from.
        deferral_max: Share of the queries that plans may aim to defer, 0..1.
        remark: A line above it.
    """

    cascade_id: str
    name: PairName
    outcomes: PairedOutcomes
    deferral_max: float = 1.0
    remark: str = ""


def catalog_text(
    head: str,
    served: Sequence[Served],
    presets: Mapping[str, Preset],
    profiles: Mapping[str, Profile],
    root: Path,
) -> str:
    """Return a catalog as TOML; see ``diffserve.catalog`` for its meaning.

    Discriminators are all there, so that cascades that use others can be activated later.

    Args:
        head: A line for people, at the top.
        served: The cascades, the default one first.
        presets: Every variant's settings, by name.
        profiles: Every variant's costs.
        root: Folder of the models' folders as the catalog is to name it; see ``relative``.
    """
    used = {cascade.name.discriminator for cascade in served}
    return "\n".join(
        (
            f"# {head}:",
            "# latencies in seconds by batch size on one thread, curves on held-out prompts.",
            f'default_cascade = "{served[0].cascade_id}"',
            EXAMPLES,
            *(_variant(presets[name], profiles[name], root) for name in presets),
            *(_discriminator(name, root, is_used=name in used) for name in DISCRIMINATORS),
            *map(_cascade, served),
        )
    )


def relative(weights: Path, folder: Path) -> Path:
    """Return a folder of weights as seen from the folder of a catalog."""
    return Path(os.path.relpath(weights.resolve(), folder.resolve()))


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


def _discriminator(name: str, root: Path, *, is_used: bool) -> str:
    kind = DISCRIMINATORS[name]
    remark = "" if is_used else "# No cascade here uses it; one that is activated later may.\n"
    return f"""{remark}[discriminator.{name}]
scorer = "{kind.__module__}:{kind.__name__}"
source = "{root / name}"
"""


def _cascade(served: Served) -> str:
    outcomes, name = served.outcomes, served.cascade_id
    confidences = outcomes.confidences.astype(np.float32)
    deferral = deferral_profile(confidences)
    light, heavy = outcomes.light > 0.0, outcomes.heavy > 0.0
    quality = quality_curve(confidences, light, heavy, QUALITY_METRIC)
    cap = f"deferral_max = {served.deferral_max:.4f}\n" if served.deferral_max < 1.0 else ""
    remark = f"# {served.remark}\n" if served.remark else ""
    return f"""{remark}[cascade.{name}]
light = "{served.name.light}"
heavy = "{served.name.heavy}"
discriminator = "{served.name.discriminator}"
slo_s = {SLO_S}
{cap}
[cascade.{name}.deferral]
thresholds = {list(deferral.thresholds)}
fractions = {list(deferral.fractions)}

[cascade.{name}.quality]
metric = "{quality.metric}"
fractions = {list(quality.fractions)}
qualities = {list(quality.qualities)}
"""
