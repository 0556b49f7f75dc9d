"""Writing trained weights in the form that ships: half precision, safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from diffserve.embedded.discriminator import DiscriminatorNetwork, SceneDiscriminator
from diffserve.embedded.networks import new_scheduler
from diffserve.embedded.palette import Palette
from diffserve.embedded.pipeline import EmojiScenePipeline
from diffserve.embedded.realness import RealnessNetwork
from diffserve.embedded.text_encoder import LayoutPlanner
from diffserve.embedded.tokenizer import build_tokenizer

#: Weights are stored in half precision and computed with in single precision on CPUs.
STORAGE_DTYPE = torch.float16


def export_pipeline(
    planner: LayoutPlanner,
    palette: Palette,
    denoiser: UNet2DConditionModel,
    folder: Path,
    max_shift_px: int,
) -> None:
    """Write a pipeline in diffusers' folder format, readable by ``from_pretrained``."""
    parts = build_tokenizer(), planner, palette, denoiser, new_scheduler()
    pipeline = EmojiScenePipeline(*parts, max_shift_px=max_shift_px)
    pipeline.to(dtype=STORAGE_DTYPE)
    pipeline.save_pretrained(folder, safe_serialization=True)


def export_discriminator(network: DiscriminatorNetwork, folder: Path) -> None:
    """Write a discriminator, readable by ``SceneDiscriminator.from_pretrained``."""
    SceneDiscriminator(network.to(STORAGE_DTYPE), build_tokenizer()).save_pretrained(folder)


def export_realness(network: RealnessNetwork, folder: Path) -> None:
    """Write the image-only discriminator, for ``RealnessDiscriminator.from_pretrained``."""
    network.to(STORAGE_DTYPE).save_pretrained(folder, safe_serialization=True)
