"""Reuses attention from step to step, where a variant asks for it: faster, and a little different.

By diffusers' Pyramid Attention Broadcast (Zhao et al. 2024, arXiv 2408.12588). Its rule looks at
the number of the step only, so that an image does not depend on the others of its batch, as it
would with caches that compare activations.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from diffusers.hooks import (
    HookRegistry,
    PyramidAttentionBroadcastConfig,
    apply_pyramid_attention_broadcast,
)
from diffusers.models.attention import AttentionModuleMixin
from diffusers.models.attention_processor import Attention

from diffserve.core import Variant
from diffserve.errors import ConfigError
from services.worker.backends.parts import denoiser_name

HOOK = "pyramid_attention_broadcast"
"""What diffusers calls it."""
TIMESTEP_MAX = 1000
"""Reuse is for the middle of the way, from 800 down to 100 of these, as in the paper."""


def check_step_cache(variant: Variant, pipeline: Any) -> None:
    """Check that a pipeline has what its variant wants to reuse.

    Raises:
        ConfigError: its denoiser has no attention.
    """
    if variant.step_cache > 1 and not any(map(_is_attention, _denoiser(pipeline).modules())):
        raise ConfigError(
            f"variant.{variant.variant_id}.step_cache: {type(_denoiser(pipeline)).__name__} has no "
            "attention to reuse"
        )


@contextlib.contextmanager
def reused_attention(
    pipeline: Any, interval: int, share_done: Callable[[], float]
) -> Iterator[None]:
    """Return a block in which the denoiser computes its attention in every ``interval``-th step.

    Args:
        pipeline: On the device.
        interval: Steps; 1: in every step.
        share_done: Returns the share of the steps that are done, 0..1.
    """
    if interval == 1:
        yield
        return
    config = PyramidAttentionBroadcastConfig(
        spatial_attention_block_skip_range=interval,
        cross_attention_block_skip_range=interval,
        current_timestep_callback=lambda: round(TIMESTEP_MAX * (1.0 - share_done())),
    )
    denoiser = _denoiser(pipeline)
    apply_pyramid_attention_broadcast(denoiser, config)
    try:
        yield
    finally:
        # With the hooks goes what they keep.
        HookRegistry.check_if_exists_or_initialize(denoiser).remove_hook(HOOK, recurse=True)


def _denoiser(pipeline: Any) -> Any:
    return getattr(pipeline, denoiser_name(pipeline))


def _is_attention(module: Any) -> bool:
    return isinstance(module, Attention | AttentionModuleMixin)
