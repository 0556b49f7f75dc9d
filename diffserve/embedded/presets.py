"""The shipped weights and the settings they are meant to run with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Folder of the weights that come with the package.
WEIGHTS = Path(__file__).parent / "weights"

DISCRIMINATOR_FOLDER = "sprite-discriminator"
REALNESS_FOLDER = "sprite-realness"
CHECKER_FOLDER = "slot-checker"


@dataclass(frozen=True)
class Preset:
    """A way of running a shipped pipeline.

    Attributes:
        name: The variant's name.
        folder: The folder of the weights below ``WEIGHTS``; presets may share one.
        num_inference_steps: Denoising steps.
        guidance_scale: Guidance; 1 means none.
    """

    name: str
    folder: str
    num_inference_steps: int
    guidance_scale: float


TINY = Preset("sprite-tiny", "sprite-tiny", num_inference_steps=1, guidance_scale=1.0)
LIGHT = Preset("sprite-light", "sprite-light", num_inference_steps=3, guidance_scale=1.0)
MEDIUM = Preset("sprite-medium", "sprite-medium", num_inference_steps=8, guidance_scale=1.0)
HEAVY = Preset("sprite-heavy", "sprite-heavy", num_inference_steps=20, guidance_scale=1.25)

#: All of them, the fastest first.
PRESETS = (TINY, LIGHT, MEDIUM, HEAVY)
