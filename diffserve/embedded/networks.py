"""Sizes of the embedded models: the one place that decides how large light and heavy are."""

from __future__ import annotations

from diffusers import FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from transformers import PreTrainedTokenizerFast

from diffserve.embedded.concepts import BACKGROUND_NAMES, CONCEPT_NAMES, STYLES
from diffserve.embedded.denoising import LATENT_CHANNELS
from diffserve.embedded.layout import GRID, layout_channels
from diffserve.embedded.text_encoder import LayoutPlanner


def new_light_planner(tokenizer: PreTrainedTokenizerFast) -> LayoutPlanner:
    """Create the light model's planner.

    With one layer it finds out what is to be drawn, but with several objects it often mistakes
    which goes where. This is what makes light and heavy differ most.
    """
    return _new_planner(tokenizer, width=64, num_layers=1, num_decoder_layers=1)


def new_heavy_planner(tokenizer: PreTrainedTokenizerFast) -> LayoutPlanner:
    """Create the heavy model's planner."""
    return _new_planner(tokenizer, width=128, num_layers=3, num_decoder_layers=2)


def new_light_denoiser() -> UNet2DConditionModel:
    """Create the light denoiser."""
    return _new_denoiser((64, 96, 128), mid_block=None)


def new_heavy_denoiser() -> UNet2DConditionModel:
    """Create the heavy denoiser."""
    return _new_denoiser((96, 128, 192), mid_block="UNetMidBlock2D")


def new_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Create the rectified-flow sampler that both models are trained for."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)


def _new_planner(
    tokenizer: PreTrainedTokenizerFast, *, width: int, num_layers: int, num_decoder_layers: int
) -> LayoutPlanner:
    planner: LayoutPlanner = LayoutPlanner(
        vocab_size=len(tokenizer),
        num_concepts=len(CONCEPT_NAMES),
        num_styles=len(STYLES),
        num_backgrounds=len(BACKGROUND_NAMES),
        max_tokens=tokenizer.model_max_length,
        width=width,
        num_layers=num_layers,
        num_decoder_layers=num_decoder_layers,
    )
    return planner


def _new_denoiser(widths: tuple[int, ...], mid_block: str | None) -> UNet2DConditionModel:
    """Create a U-Net of convolutions only; the layout map tells it all about the caption."""
    layout = layout_channels(len(CONCEPT_NAMES), len(STYLES), len(BACKGROUND_NAMES))
    return UNet2DConditionModel(
        sample_size=GRID,
        in_channels=LATENT_CHANNELS + layout,
        out_channels=LATENT_CHANNELS,
        conv_in_kernel=1,
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * len(widths),
        mid_block_type=mid_block,
        up_block_types=("UpBlock2D",) * len(widths),
        norm_num_groups=16,
        resnet_time_scale_shift="scale_shift",
    )
