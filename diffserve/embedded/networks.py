"""Sizes of the embedded models: the one place that decides how large each of them is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from transformers import PreTrainedTokenizerFast

from diffserve.embedded.concepts import BACKGROUND_NAMES, CONCEPT_NAMES, STYLES
from diffserve.embedded.denoising import LATENT_CHANNELS
from diffserve.embedded.layout import GRID
from diffserve.embedded.palette import Palette
from diffserve.embedded.preconditioning import PreconditionedUNet, begin_sure
from diffserve.embedded.text_encoder import LayoutPlanner


@dataclass(frozen=True)
class Size:
    """How large the parts of one model are.

    Attributes:
        planner_width: Features per token.
        planner_layers: Layers over the tokens.
        planner_decoder_layers: Layers over the spatial queries.
        palette_width: Features per cell.
        palette_waves: Cosine waves per axis in the palette's table.
        denoiser_widths: Channels of the U-Net by resolution, each a multiple of 16.
        has_mid_block: Whether the U-Net has blocks at its lowest resolution besides.
        is_preconditioned: Whether what it guesses is weighed against what it sees.
    """

    planner_width: int
    planner_layers: int
    planner_decoder_layers: int
    palette_width: int
    palette_waves: int
    denoiser_widths: tuple[int, ...]
    has_mid_block: bool
    is_preconditioned: bool = False


SIZES: Mapping[str, Size] = MappingProxyType(
    {
        # Without layers over the tokens a planner finds out what is to be drawn, but with several
        # objects it often mistakes which goes where. This is what sets light and heavy apart.
        "tiny": Size(64, 0, 1, 48, 5, (48, 80, 112), has_mid_block=False),
        "light": Size(64, 0, 1, 64, 5, (64, 96, 128), has_mid_block=False),
        "medium": Size(128, 3, 2, 96, 7, (96, 128, 192), has_mid_block=True),
        "heavy": Size(
            128, 3, 2, 96, 7, (128, 192, 320), has_mid_block=True, is_preconditioned=True
        ),
    }
)


def new_planner(size: Size, tokenizer: PreTrainedTokenizerFast) -> LayoutPlanner:
    """Create an untrained planner for a tokenizer's vocabulary."""
    planner: LayoutPlanner = LayoutPlanner(
        vocab_size=len(tokenizer),
        num_concepts=len(CONCEPT_NAMES),
        num_styles=len(STYLES),
        num_backgrounds=len(BACKGROUND_NAMES),
        max_tokens=tokenizer.model_max_length,
        width=size.planner_width,
        num_layers=size.planner_layers,
        num_decoder_layers=size.planner_decoder_layers,
    )
    return planner


def new_palette(size: Size) -> Palette:
    """Create an untrained palette for the concepts, styles and backgrounds of the world."""
    palette: Palette = Palette(
        num_concepts=len(CONCEPT_NAMES),
        num_styles=len(STYLES),
        num_backgrounds=len(BACKGROUND_NAMES),
        width=size.palette_width,
        num_waves=size.palette_waves,
    )
    return palette


def new_denoiser(size: Size) -> UNet2DConditionModel:
    """Create an untrained U-Net of convolutions; the palette tells it all about the caption."""
    num_blocks = len(size.denoiser_widths)
    options = {
        "sample_size": GRID,
        "in_channels": LATENT_CHANNELS + size.palette_width,
        "out_channels": LATENT_CHANNELS,
        "conv_in_kernel": 1,
        "block_out_channels": size.denoiser_widths,
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D",) * num_blocks,
        "mid_block_type": "UNetMidBlock2D" if size.has_mid_block else None,
        "up_block_types": ("UpBlock2D",) * num_blocks,
        "norm_num_groups": 16,
        "resnet_time_scale_shift": "scale_shift",
    }
    if not size.is_preconditioned:
        return UNet2DConditionModel(**options)
    return begin_sure(PreconditionedUNet(**{**options, "out_channels": 2 * LATENT_CHANNELS}))


def new_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Create the rectified-flow sampler that all models are trained for."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)
