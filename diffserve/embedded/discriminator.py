"""The discriminator: how confident one can be that an image shows what its prompt asks for."""

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
from transformers import PreTrainedTokenizerFast

from diffserve.embedded.denoising import LATENT_CHANNELS, to_latents
from diffserve.embedded.layout import GEOMETRY_CHANNELS, LayoutPlan
from diffserve.embedded.scenes import IMAGE_PX, Array
from diffserve.embedded.text_encoder import LayoutLogits, LayoutPlanner
from diffserve.embedded.tokenizer import tokenize
from diffserve.embedded.words import read_prompt

#: Probabilities below this count as equally impossible.
_PROBABILITY_MIN = 1e-3
#: Statistics of the agreement between image and plan, see ``DiscriminatorNetwork.compare``.
_NUM_STATISTICS = 5


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return features of the same shape."""
        return hidden + cast(torch.Tensor, self.layers(hidden))


class DiscriminatorNetwork(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Reads a layout off the image and compares it with the one that the caption calls for.

    Args:
        vocab_size: Number of token ids.
        num_concepts: Concepts that a cell can show.
        num_styles: Styles that a caption can name.
        num_backgrounds: Backgrounds that a caption can name.
        max_tokens: Longest caption.
        width: Channels of the convolutions at full resolution.
        temperature: Divides the logits, so that confidences are neither too sure nor too timid.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        vocab_size: int,
        num_concepts: int,
        num_styles: int,
        num_backgrounds: int,
        max_tokens: int = 32,
        width: int = 64,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.planner = LayoutPlanner(
            vocab_size, num_concepts, num_styles, num_backgrounds, max_tokens
        )
        self.trunk = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, width, 1),
            ResidualBlock(width),
            ResidualBlock(width),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            ResidualBlock(2 * width),
            ResidualBlock(2 * width),
            nn.GroupNorm(8, 2 * width),
            nn.SiLU(),
        )
        self.cell_head = nn.Conv2d(2 * width, 4 * (1 + num_concepts + GEOMETRY_CHANNELS), 1)
        self.style_head = nn.Linear(2 * width, 1 + num_styles)
        self.background_head = nn.Linear(2 * width, 1 + num_backgrounds)
        self.quality = nn.Sequential(
            nn.Conv2d(2 * width + 4, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
        )
        self.verdict = nn.Sequential(
            nn.Linear(2 * width + _NUM_STATISTICS, width), nn.SiLU(), nn.Linear(width, 1)
        )

    def read(self, latents: torch.Tensor) -> tuple[torch.Tensor, LayoutLogits]:
        """Read the layout off images, given as latents (B, 48, 16, 16).

        Returns:
            Features, shape (B, 2 * width, 8, 8), and the layout.
        """
        features = self.trunk(latents)
        cells = nn.functional.pixel_shuffle(self.cell_head(features), 2)
        summary = features.mean(dim=(2, 3))
        return features, LayoutLogits(
            concepts=cells[:, GEOMETRY_CHANNELS:],
            geometry=cells[:, :GEOMETRY_CHANNELS],
            styles=self.style_head(summary),
            backgrounds=self.background_head(summary),
        )

    def compare(self, features: torch.Tensor, seen: LayoutPlan, wanted: LayoutPlan) -> torch.Tensor:
        """Return the logit, shape (B,), that images show what captions want.

        Args:
            features: Of the images, see ``read``.
            seen: The layouts read off the images.
            wanted: The layouts that the captions call for.
        """
        agreement = _log((seen.concepts * wanted.concepts).sum(dim=1))
        covered = 1 - wanted.concepts[:, 0]
        style = _log((seen.styles * wanted.styles).sum(dim=1) + wanted.styles[:, 0])
        background = _log(
            (seen.backgrounds * wanted.backgrounds).sum(dim=1) + wanted.backgrounds[:, 0]
        )
        local = nnf.avg_pool2d(agreement[:, None], 4)
        statistics = torch.stack(
            [
                (agreement * covered).sum(dim=(1, 2)) / covered.sum(dim=(1, 2)).clamp(min=1),
                (agreement * (1 - covered)).mean(dim=(1, 2)),
                local.amin(dim=(1, 2, 3)),
                style,
                background,
            ],
            dim=1,
        )
        # The agreement in each quarter of the features' 2x2 cells.
        quarters = nnf.pixel_unshuffle(agreement[:, None], 2)
        quality = self.quality(torch.cat([features, quarters], dim=1)).flatten(2)
        # One wrong object is enough to spoil an image, so the extremes count besides the mean.
        pooled = torch.cat([quality.mean(dim=2), quality.amax(dim=2), statistics], dim=1)
        return cast(torch.Tensor, self.verdict(pooled)[:, 0])

    def forward(
        self, latents: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Return the logit, shape (B,), that images (B, 48, 16, 16) match tokenized captions."""
        features, seen = self.read(latents)
        return self.compare(features, seen.plan(), self.planner(input_ids, attention_mask))


class SceneDiscriminator:
    """Scores images of the light model; the cascade defers those with a low confidence.

    Args:
        network: Trained network.
        tokenizer: The tokenizer it was trained with.
    """

    def __init__(self, network: DiscriminatorNetwork, tokenizer: PreTrainedTokenizerFast) -> None:
        self.network = network.eval()
        self._tokenizer = tokenizer

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> SceneDiscriminator:
        """Load a discriminator from a local folder, in float32 on the CPU."""
        network = DiscriminatorNetwork.from_pretrained(
            folder, local_files_only=True, torch_dtype=torch.float32
        )
        return cls(network, PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the network (safetensors, in its current precision) and the tokenizer."""
        self.network.save_pretrained(folder, safe_serialization=True)
        self._tokenizer.save_pretrained(folder)

    @torch.inference_mode()
    def score(self, images: Array, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return how confident one can be in each image.

        Args:
            images: RGB images, uint8, shape (B, H, W, 3); H and W are multiples of 64.
            prompts: The prompt of each image; unknown words are ignored.

        Returns:
            Confidences in [0, 1], float32, shape (B,); higher means: keep the image.

        Raises:
            ValueError: The shapes do not fit.
        """
        if images.ndim != 4 or images.shape[-1] != 3 or len(images) != len(prompts):
            raise ValueError(
                f"images must be (B, H, W, 3) with one prompt each, got shape {images.shape} "
                f"for {len(prompts)} prompts"
            )
        device = self.network.device
        known_words = self._tokenizer.get_vocab()
        texts = [read_prompt(prompt, known_words).text for prompt in prompts]
        ids, mask = tokenize(self._tokenizer, texts, device)
        logits = self.network(to_latents(shrink(torch.from_numpy(images))).to(device), ids, mask)
        confidences = (logits.float() / self.network.config.temperature).sigmoid()
        return cast(NDArray[np.float32], confidences.cpu().numpy())


def _log(probability: torch.Tensor) -> torch.Tensor:
    return probability.clamp(_PROBABILITY_MIN, 1).log()


def shrink(images: torch.Tensor) -> torch.Tensor:
    """Average images (B, H, W, 3) down to the native size."""
    if images.shape[1:3] == (IMAGE_PX, IMAGE_PX):
        return images
    pixels = images.permute(0, 3, 1, 2).float()
    return nnf.interpolate(pixels, (IMAGE_PX, IMAGE_PX), mode="area").permute(0, 2, 3, 1)
