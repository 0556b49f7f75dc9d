"""The shipped weights and the settings they are meant to run with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Folder of the weights that come with the package.
WEIGHTS = Path(__file__).parent / "weights"

DISCRIMINATOR_FOLDER = "sprite-discriminator"


@dataclass(frozen=True)
class Preset:
    """A shipped pipeline.

    Attributes:
        folder: Its folder below ``WEIGHTS``, also its name.
        num_inference_steps: Denoising steps it is evaluated with.
        guidance_scale: Guidance it is evaluated with; 1 means none.
    """

    folder: str
    num_inference_steps: int
    guidance_scale: float


LIGHT = Preset("sprite-light", num_inference_steps=3, guidance_scale=1.0)
HEAVY = Preset("sprite-heavy", num_inference_steps=20, guidance_scale=2.0)
