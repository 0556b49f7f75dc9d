"""Pipelines of the real architectures with random weights: speed does not depend on their values.

Shapes are those of the published configurations; nothing is downloaded.
"""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

NUM_TOKENS = 77


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What is built, and how it is run.

    Attributes:
        name: For people.
        num_steps: Denoising steps.
        guidance_scale: 0 or 1 means none.
        side: Of the images, pixels.
        text: Configuration of the text encoder.
        unet: Configuration of the denoiser.
        vae: Configuration of the decoder.
        scheduler: Class of diffusers.
    """

    name: str
    num_steps: int
    guidance_scale: float
    side: int
    text: dict[str, Any]
    unet: dict[str, Any]
    vae: dict[str, Any]
    scheduler: str


_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "sample_size": 512,
}
_UNET: dict[str, Any] = {"sample_size": 64, "block_out_channels": (320, 640, 1280, 1280)}

SD_V1_5 = Architecture(
    name="SD v1.5",
    num_steps=50,
    guidance_scale=7.5,
    side=512,
    text={"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12},
    unet={**_UNET, "cross_attention_dim": 768, "attention_head_dim": 8},
    vae=_VAE,
    scheduler="PNDMScheduler",
)
SD_TURBO = Architecture(
    name="SD-Turbo",
    num_steps=1,
    guidance_scale=0.0,
    side=512,
    text={"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23},
    unet={
        **_UNET,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    },
    vae=_VAE,
    scheduler="EulerDiscreteScheduler",
)
TINY = Architecture(
    name="tiny",
    num_steps=4,
    guidance_scale=2.0,
    side=64,
    text={"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1},
    unet={
        "sample_size": 8,
        "block_out_channels": (32, 32, 32, 32),
        "cross_attention_dim": 64,
        "attention_head_dim": 8,
    },
    vae={**_VAE, "block_out_channels": (32, 32, 32, 32), "sample_size": 64},
    scheduler="DDIMScheduler",
)
"""Tries the benchmark out on a CPU; its figures mean nothing."""


def save(architecture: Architecture, directory: Path, dtype: torch.dtype) -> None:
    """Build a pipeline with random weights and save it as diffusers would find it on a hub."""
    torch.manual_seed(0)
    text = transformers.CLIPTextConfig(
        **architecture.text,
        num_attention_heads=architecture.text["hidden_size"] // 64,
        projection_dim=architecture.text["hidden_size"],
        max_position_embeddings=NUM_TOKENS,
        vocab_size=100,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    pipeline = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(**architecture.vae),
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=_tokenizer(),
        unet=diffusers.UNet2DConditionModel(**architecture.unet),
        scheduler=getattr(diffusers, architecture.scheduler)(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype=dtype)
    pipeline.save_pretrained(directory)


def _tokenizer() -> Any:
    letters = string.ascii_lowercase + string.digits
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    return transformers.CLIPTokenizer(
        vocab={word: index for index, word in enumerate(words)},
        merges=[],
        model_max_length=NUM_TOKENS,
    )
