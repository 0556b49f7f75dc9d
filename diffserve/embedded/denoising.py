"""The denoising problem: latents, their noising, and one call of a denoiser.

Images become latents by moving every 4x4 block of pixels into channels. The denoiser is trained
as a rectified flow: ``x_t = (1 - t) x + t e`` with image ``x``, noise ``e`` and noise level ``t``
in [0, 1]. It predicts the clean latents; the velocity ``e - x`` that the scheduler integrates
follows from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as nnf
from diffusers import UNet2DConditionModel

from diffserve.embedded.layout import CELL_PX

#: Channels of the latents: RGB times the pixels of a cell.
LATENT_CHANNELS = 3 * CELL_PX**2
#: Noise levels are multiplied by this to become the denoiser's timestep.
TIMESTEP_SCALE = 1000.0


@dataclass(frozen=True)
class Noising:
    """Which noise levels a denoiser learns from: logit-normal, as in Stable Diffusion 3.

    Attributes:
        mean: Of the levels' logits.
        std: Likewise.
        min_weight_level: The velocity loss divides by the noise level; below this one the weight
            stops growing.
    """

    mean: float
    std: float
    min_weight_level: float


#: Towards much noise: with few sampling steps the first ones decide.
COARSE = Noising(mean=0.4, std=1.2, min_weight_level=0.2)
#: With many steps the last ones finish the details, if the denoiser is good at little noise.
FINE = Noising(mean=0.0, std=1.4, min_weight_level=0.05)


def to_latents(images: torch.Tensor) -> torch.Tensor:
    """Convert uint8 images (B, 64, 64, 3) to latents (B, 48, 16, 16) in [-1, 1]."""
    pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    return nnf.pixel_unshuffle(pixels, CELL_PX)


def to_pixels(latents: torch.Tensor) -> torch.Tensor:
    """Convert latents (B, 48, 16, 16) to float images (B, 3, 64, 64) in [0, 1]."""
    return (nnf.pixel_shuffle(latents, CELL_PX) / 2 + 0.5).clamp(0, 1)


def predict_clean(
    denoiser: UNet2DConditionModel,
    latents: torch.Tensor,
    noise_level: torch.Tensor,
    features: torch.Tensor,
) -> torch.Tensor:
    """Predict the clean latents behind noisy ones.

    Args:
        denoiser: The U-Net; its input channels are the latents' plus the palette's.
        latents: Noisy latents, shape (B, 48, 16, 16).
        noise_level: Noise level t of every row, shape (B,).
        features: The palette's, shape (B, width, 16, 16).

    Returns:
        Clean latents, shape (B, 48, 16, 16).
    """
    output = denoiser(
        torch.cat([latents, features.to(latents.dtype)], dim=1),
        noise_level * TIMESTEP_SCALE,
        # No block of the denoisers attends to tokens.
        encoder_hidden_states=latents.new_zeros(len(latents), 1, 1),
        return_dict=False,
    )
    return cast(torch.Tensor, output[0])


def flow_loss(
    denoiser: UNet2DConditionModel,
    clean: torch.Tensor,
    features: torch.Tensor,
    generator: torch.Generator,
    noising: Noising = COARSE,
) -> torch.Tensor:
    """Return the velocity loss at random noise levels, a scalar.

    Args:
        denoiser: The U-Net.
        clean: Latents of the training images, shape (B, 48, 16, 16).
        features: What the palette says about their layouts, shape (B, width, 16, 16).
        generator: Draws noise and noise levels, on the CPU.
        noising: How noise levels are drawn.
    """
    logits = noising.mean + noising.std * torch.randn(len(clean), generator=generator)
    level = torch.sigmoid(logits)
    noise = torch.randn(clean.shape, generator=generator)
    level, noise = level.to(clean.device), noise.to(clean.device)
    mix = level[:, None, None, None]
    predicted = predict_clean(denoiser, (1 - mix) * clean + mix * noise, level, features)
    weight = mix.clamp(min=noising.min_weight_level) ** -2
    return (weight * (predicted.float() - clean) ** 2).mean()
