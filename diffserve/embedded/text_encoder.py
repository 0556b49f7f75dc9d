"""The text encoder: from caption tokens to a layout plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from diffserve.embedded.layout import GEOMETRY_CHANNELS, GRID, LayoutPlan

#: The planner decodes an 8x8 grid of queries; each one answers for 2x2 cells.
_QUERY_GRID = GRID // 2


@dataclass(frozen=True)
class LayoutLogits:
    """A planner's raw prediction, shaped like a ``LayoutPlan``."""

    concepts: torch.Tensor
    geometry: torch.Tensor
    styles: torch.Tensor
    backgrounds: torch.Tensor

    def select(self, rows: list[int]) -> LayoutLogits:
        """Return some rows of the batch."""
        return LayoutLogits(
            self.concepts[rows], self.geometry[rows], self.styles[rows], self.backgrounds[rows]
        )

    def plan(self) -> LayoutPlan:
        """Return the prediction as probabilities."""
        return LayoutPlan(
            concepts=self.concepts.softmax(dim=1),
            geometry=self.geometry,
            styles=self.styles.softmax(dim=1),
            backgrounds=self.backgrounds.softmax(dim=1),
        )


class _TokenTransformer(nn.Module):
    """Token and position embeddings followed by a pre-norm transformer encoder."""

    def __init__(self, vocab_size: int, max_tokens: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.position = nn.Parameter(0.02 * torch.randn(max_tokens, width))
        layer = nn.TransformerEncoderLayer(
            width, width // 32, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = (
            nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
            if num_layers
            else None
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, input_ids: torch.Tensor, is_padding: torch.Tensor) -> torch.Tensor:
        """Encode ids of shape (B, T) to features of shape (B, T, width)."""
        hidden = self.embedding(input_ids) + self.position[: input_ids.shape[1]]
        if self.layers is not None:
            hidden = self.layers(hidden, src_key_padding_mask=is_padding)
        return cast(torch.Tensor, self.norm(hidden))


class LayoutPlanner(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A small transformer that works out from a caption where everything goes.

    Learned spatial queries attend to the caption and decide for every grid cell which concept,
    and which part of it, belongs there; the style and the background come from the whole caption.

    Args:
        vocab_size: Number of token ids.
        num_concepts: Concepts that a cell can show.
        num_styles: Styles that a caption can name.
        num_backgrounds: Backgrounds that a caption can name.
        max_tokens: Longest caption.
        width: Features per token, a multiple of 32.
        num_layers: Layers over the tokens; with none, words do not see each other.
        num_decoder_layers: Layers over the spatial queries.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        vocab_size: int,
        num_concepts: int,
        num_styles: int,
        num_backgrounds: int,
        max_tokens: int = 32,
        width: int = 128,
        num_layers: int = 3,
        num_decoder_layers: int = 2,
    ) -> None:
        super().__init__()
        self.transformer = _TokenTransformer(vocab_size, max_tokens, width, num_layers)
        self.queries = nn.Parameter(0.02 * torch.randn(_QUERY_GRID**2, width))
        layer = nn.TransformerDecoderLayer(
            width, width // 32, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.decoder = nn.TransformerDecoder(layer, num_decoder_layers, nn.LayerNorm(width))
        self.cell_head = nn.Linear(width, 4 * (1 + num_concepts + GEOMETRY_CHANNELS))
        self.style_head = nn.Linear(width, 1 + num_styles)
        self.background_head = nn.Linear(width, 1 + num_backgrounds)

    def predict(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> LayoutLogits:
        """Return the raw layout prediction of captions, see ``forward``."""
        is_padding = attention_mask == 0
        tokens = self.transformer(input_ids, is_padding)
        queries = self.queries.expand(len(input_ids), -1, -1)
        cells = self.decoder(queries, tokens, memory_key_padding_mask=is_padding)
        cells = self.cell_head(cells).transpose(1, 2).unflatten(2, (_QUERY_GRID, _QUERY_GRID))
        cells = nn.functional.pixel_shuffle(cells, 2)
        summary = self._summarise(tokens, is_padding)
        return LayoutLogits(
            concepts=cells[:, GEOMETRY_CHANNELS:],
            geometry=cells[:, :GEOMETRY_CHANNELS],
            styles=self.style_head(summary),
            backgrounds=self.background_head(summary),
        )

    def _summarise(self, tokens: torch.Tensor, is_padding: torch.Tensor) -> torch.Tensor:
        """Return features of whole captions, shape (B, width)."""
        if self.transformer.layers is not None:
            # Every caption starts with the start token, which has seen all the others.
            return tokens[:, 0]
        weights = (~is_padding).to(tokens.dtype)[:, :, None]
        return (weights * tokens).sum(dim=1) / weights.sum(dim=1)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> LayoutPlan:
        """Plan the layouts that captions call for.

        Args:
            input_ids: Token ids, int64, shape (B, T).
            attention_mask: 1 for tokens and 0 for padding, shape (B, T).
        """
        return self.predict(input_ids, attention_mask).plan()
