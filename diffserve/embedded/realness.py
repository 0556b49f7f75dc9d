"""The discriminator of the paper: how real an image looks, whatever its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as nnf
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from numpy.typing import NDArray
from torch import nn

from diffserve.embedded.denoising import LATENT_CHANNELS, to_latents
from diffserve.embedded.discriminator import ResidualBlock, shrink
from diffserve.embedded.judging import LEVELS, Judged
from diffserve.embedded.scenes import Array, render
from diffserve.embedded.tasks import draw_prompts
from diffserve.embedded.trainer import TrainingTask

#: Share of a batch that models have drawn, half of it by the light one; the rest are renders.
_DRAWN_SHARE = 0.5


class RealnessNetwork(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Tells reference images from those that models draw.

    Args:
        width: Channels of the convolutions at full resolution.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, width, 1),
            ResidualBlock(width),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            ResidualBlock(2 * width),
            nn.GroupNorm(8, 2 * width),
            nn.SiLU(),
        )
        self.verdict = nn.Linear(4 * width, 1)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the logit, shape (B,), that images (B, 48, 16, 16) are reference images."""
        features = self.trunk(latents).flatten(2)
        pooled = torch.cat([features.mean(dim=2), features.amax(dim=2)], dim=1)
        return cast(torch.Tensor, self.verdict(pooled)[:, 0])


class RealnessTask(TrainingTask):
    """The paper's recipe: reference images are real; light and heavy images are not. Paper: 3.1."""

    def __init__(self, judged: Sequence[Judged]) -> None:
        super().__init__()
        self.network = RealnessNetwork()
        self._judged = judged

    def loss(
        self, batch_size: int, rng: np.random.Generator, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the binary cross-entropy of telling renders from drawn images."""
        del generator  # All randomness is in the choice of the images.
        num_drawn = round(_DRAWN_SHARE * batch_size)
        picks = rng.choice(len(self._judged), size=num_drawn)
        images = [
            self._judged[pick].light if rng.random() < 0.5 else self._judged[pick].heavy
            for pick in picks
        ]
        prompts = draw_prompts(rng, LEVELS, batch_size - num_drawn)
        images += [render(prompt.scene, rng) for prompt in prompts]
        device = self.network.device
        logits = self.network(to_latents(torch.from_numpy(np.stack(images))).to(device))
        is_real = torch.arange(batch_size, device=device) >= num_drawn
        return nnf.binary_cross_entropy_with_logits(logits.float(), is_real.float())


class RealnessDiscriminator:
    """Scores images without looking at their prompts."""

    def __init__(self, network: RealnessNetwork) -> None:
        self.network = network.eval()

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> RealnessDiscriminator:
        """Load a discriminator from a local folder, in float32 on the CPU."""
        return cls(
            RealnessNetwork.from_pretrained(
                folder, local_files_only=True, torch_dtype=torch.float32
            )
        )

    @torch.inference_mode()
    def score(self, images: Array, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return how real each image looks.

        Args:
            images: RGB images, uint8, shape (B, H, W, 3); H and W are multiples of 64.
            prompts: Not looked at.

        Returns:
            Confidences in [0, 1], float32, shape (B,); higher means: keep the image.
        """
        del prompts
        latents = to_latents(shrink(torch.from_numpy(images))).to(self.network.device)
        confidences = self.network(latents).float().sigmoid()
        return cast(NDArray[np.float32], confidences.cpu().numpy())
