"""Makes denoiser and decoder fast on a GPU: channels-last, compiled for a few fixed batch sizes.

A compiled network is compiled anew for every shape it meets, which takes tens of seconds. So it
meets only the batch sizes of the variant's profile, each before the worker serves: smaller batches
are filled up, and calls at another size of image or guidance run uncompiled.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch.utils import _pytree

from services.worker.backends.parts import denoiser_name

AUTO, OFF = "auto", "off"
GPU_MODE = "reduce-overhead"
"""Mode that ``auto`` means on CUDA: kernels are compiled and each shape's launches recorded."""
UNRECORDED = {GPU_MODE: "default", "max-autotune": "max-autotune-no-cudagraphs"}
"""Modes that record launches, and those that compile the same kernels and do not."""
COMPILER = "inductor"
NUM_SHAPES_MAX = 64
"""Compiled shapes per network class in a process: batch sizes of all resident variants."""

ItemT = TypeVar("ItemT")


def mode_on(device: str, setting: str) -> str:
    """Return the mode of ``torch.compile`` that a setting means on a device; empty for none."""
    if setting == AUTO:
        return GPU_MODE if device.startswith("cuda") else ""
    return "" if setting == OFF else setting


def accelerate(pipeline: Any, mode: str) -> None:
    """Compile a pipeline's denoiser, and its decoder where it has one, in place."""
    torch._dynamo.config.cache_size_limit = NUM_SHAPES_MAX
    denoiser = getattr(pipeline, denoiser_name(pipeline))
    decoder = getattr(getattr(pipeline, "vae", None), "decoder", None)
    # Recorded launches share their memory, and the decoder works beside the denoiser.
    for network, its_mode in ((denoiser, mode), (decoder, UNRECORDED.get(mode, mode))):
        if network is not None:
            network.to(memory_format=torch.channels_last)
            network.forward = _compiled(network.forward, its_mode)


def filled_up(items: Sequence[ItemT], sizes: Sequence[int]) -> list[ItemT]:
    """Repeat the last item up to the next of ``sizes``; without a larger one nothing is added."""
    size = min((size for size in sizes if size >= len(items)), default=len(items))
    return [*items, *[items[-1]] * (size - len(items))]


def uncompiled() -> contextlib.AbstractContextManager[Any]:
    """Return a block in which compiled networks run as they were written."""
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def _compiled(forward: Callable[..., Any], mode: str) -> Callable[..., Any]:
    fast = torch.compile(
        forward, backend=COMPILER, dynamic=False, mode=mode if COMPILER == "inductor" else None
    )

    def call(*args: Any, **kwargs: Any) -> Any:
        # A recorded graph writes its result to the same place every time, and multistep schedulers
        # keep results of earlier steps.
        return _pytree.tree_map_only(torch.Tensor, torch.clone, fast(*args, **kwargs))

    return call
