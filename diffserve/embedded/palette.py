"""The palette: what the denoiser knows about the looks of every concept, style and background."""

from __future__ import annotations

import math

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from diffserve.embedded.layout import GEOMETRY_CHANNELS, GRID, LayoutPlan

#: Cosine waves per axis that describe the position inside an object, whatever the object is.
_FINE_WAVES = 9
#: Concepts that can share an image; of a blurred plan, only the most likely ones are looked up.
_MAX_CONCEPTS = 6


class Palette(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Turns a layout plan into features of every cell, which the denoiser sees beside the latents.

    A table holds for each concept the amplitudes of two-dimensional cosine waves; summed up at a
    position inside the object they say what that part of the concept looks like.

    Args:
        num_concepts: Concepts of the table.
        num_styles: Styles that a plan can ask for.
        num_backgrounds: Backgrounds that a plan can ask for.
        width: Features per cell.
        num_waves: Cosine waves per axis in the table.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        num_concepts: int,
        num_styles: int,
        num_backgrounds: int,
        width: int = 96,
        num_waves: int = 7,
    ) -> None:
        super().__init__()
        self.table = nn.Parameter(0.02 * torch.randn(num_concepts, num_waves**2, width))
        shared = 2 * _FINE_WAVES + GEOMETRY_CHANNELS + num_styles + num_backgrounds
        self.shared = nn.Conv2d(shared, width, 1)

    def forward(self, plan: LayoutPlan) -> torch.Tensor:
        """Return the features of a plan, shape (B, width, 16, 16)."""
        covered = 1 - plan.concepts[:, :1]
        across, down = (_waves(position) for position in plan.geometry[:, :2].unbind(dim=1))
        everywhere = torch.cat([plan.styles[:, 1:], plan.backgrounds[:, 1:]], dim=1)
        everywhere = everywhere[:, :, None, None].expand(-1, -1, GRID, GRID)
        shared = [across * covered, down * covered, plan.geometry * covered, everywhere]
        features: torch.Tensor = self.shared(torch.cat(shared, dim=1))
        return features + self._look_up(plan.concepts[:, 1:], across, down)

    def _look_up(
        self, concepts: torch.Tensor, across: torch.Tensor, down: torch.Tensor
    ) -> torch.Tensor:
        """Sum the waves of the concepts at every cell, weighted by their probabilities."""
        num_waves = math.isqrt(self.table.shape[1])
        _, chosen = concepts.sum(dim=(2, 3)).topk(min(_MAX_CONCEPTS, concepts.shape[1]), dim=1)
        rows = torch.arange(len(concepts), device=concepts.device)[:, None]
        weights = concepts[rows, chosen].flatten(2)
        waves = (across[:, :num_waves, None] * down[:, None, :num_waves]).flatten(1, 2).flatten(2)
        # (B, concepts * waves, cells): how much of each amplitude every cell sees.
        mixture = (weights[:, :, None] * waves[:, None]).flatten(1, 2)
        amplitudes = self.table[chosen].flatten(1, 2)
        features = torch.bmm(amplitudes.transpose(1, 2), mixture.to(amplitudes.dtype))
        return features.reshape(*features.shape[:2], GRID, GRID)


def _waves(position: torch.Tensor) -> torch.Tensor:
    """Return cosines of rising frequency of a position (B, H, W) in [-1, 1], (B, waves, H, W)."""
    orders = torch.arange(_FINE_WAVES, device=position.device, dtype=position.dtype)
    return torch.cos(math.pi / 2 * orders[:, None, None] * (position[:, None] + 1))
