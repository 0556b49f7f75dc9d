"""A denoiser that believes its eyes: at little noise its input is nearly the answer."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ModelMixin, UNet2DConditionModel

#: Standard deviation of what the network itself is expected to miss of clean latents.
GUESS_STD = 0.06
_TIMESTEP_SCALE = 1000.0


# Diffusers loads a class of ours only if its module names `ModelMixin`.
class PreconditionedUNet(UNet2DConditionModel, ModelMixin):  # type: ignore[misc]
    """A U-Net whose guess is weighed against its input, by the certainty of both.

    A network that has to say all of the image again is no nearer to it at little noise than at
    some; what it cannot repeat shows as speckles. But noisy latents ``x_t = (1 - t) x + t e`` are
    an observation of the clean ones, of variance ``(t / (1 - t))^2``, and the guess is another, of
    variance ``GUESS_STD^2``. The output is their mean by inverse variance. Karras et al.,
    "Elucidating the Design Space of Diffusion-Based Generative Models" (2022), section 5, have the
    network correct its input at every noise level; at much noise that asks a small one for more.
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
        (guess,) = super().forward(sample, timestep, *args, **{**kwargs, "return_dict": False})
        level = (timestep.float() / _TIMESTEP_SCALE).reshape(-1, 1, 1, 1)
        noisy = sample[:, : guess.shape[1]].float()
        total = ((1 - level) * GUESS_STD) ** 2 + level**2
        clean = ((1 - level) * GUESS_STD**2 * noisy + level**2 * guess.float()) / total
        return (clean.to(sample.dtype),)
