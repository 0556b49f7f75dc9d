"""A denoiser that knows how sure it is: where it is not, it believes what it sees."""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import ModelMixin, UNet2DConditionModel
from torch import nn

from diffserve.embedded.denoising import TIMESTEP_SCALE

#: Standard deviation by which an untaught network takes its guess at clean latents to be off.
GUESS_STD = 0.06
_LOG_VARIANCE_RANGE = (-16.0, 0.0)


# Diffusers loads a class of ours only if its module names `ModelMixin`.
class PreconditionedUNet(UNet2DConditionModel, ModelMixin):  # type: ignore[misc]
    """A U-Net that weighs its guess against its input, pixel by pixel.

    A network that has to say all of the image again is no nearer to it at little noise than at
    some: the edges that it cannot repeat show as speckles. But noisy latents
    ``x_t = (1 - t) x + t e`` are an observation of the clean ones, of variance
    ``(t / (1 - t))^2``, and the guess is another, whose variance the network tells as well. The
    output is their mean by inverse variance: flat ground comes from the guess, edges from what is
    seen. Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models"
    (2022), section 5, have one weight per noise level; a grain stays everywhere then.

    Its output channels are the guess and, in as many more, the logarithms of its variance.
    """

    def forward(
        self, sample: torch.Tensor, timestep: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor]:
        """Predict clean latents.

        Args:
            sample: Noisy latents, then the palette's features, shape (B, channels, 16, 16).
            timestep: Noise levels t of the rows times 1000, shape (B,).
            args: As for ``UNet2DConditionModel``.
            kwargs: Likewise, but for ``return_dict``.

        Returns:
            The clean latents, shape (B, 48, 16, 16).
        """
        (output,) = super().forward(sample, timestep, *args, **{**kwargs, "return_dict": False})
        guess, log_variance = output.float().chunk(2, dim=1)
        level = (timestep.float() / TIMESTEP_SCALE).reshape(-1, 1, 1, 1)
        noisy = sample[:, : guess.shape[1]].float()
        variance = log_variance.clamp(*_LOG_VARIANCE_RANGE).exp()
        total = (1 - level) ** 2 * variance + level**2
        clean = ((1 - level) * variance * noisy + level**2 * guess) / total
        return (clean.to(sample.dtype),)


@torch.no_grad()
def begin_sure(denoiser: PreconditionedUNet) -> PreconditionedUNet:
    """Have an untaught denoiser take its guesses to be off by ``GUESS_STD`` everywhere."""
    conv: nn.Conv2d = denoiser.conv_out
    half = conv.out_channels // 2
    nn.init.zeros_(conv.weight[half:])
    assert conv.bias is not None
    nn.init.constant_(conv.bias[half:], 2 * math.log(GUESS_STD))
    return denoiser
