"""Runs the same batches by both, in turns, and keeps the images per second."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch

from benchmarks.plain_loop.architectures import Architecture
from diffserve.core import Variant
from services.worker.backends.base import Picture, settled
from services.worker.backends.diffusers import DiffusersBackend
from services.worker.batch import BatchSpec, warm_up_batch

Run = Callable[[BatchSpec], None]
"""Draws a batch and leaves its images on the host, at the latest when the next one is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured of one architecture and batch size.

    Attributes:
        architecture: Its name.
        batch_size: Images at a time.
        plain_ips: Images per second of the plain loop, median of the rounds.
        worker_ips: Of the worker's backend.
        ratio: Median of the rounds' ratios.
        ratio_low: Least of them.
    """

    architecture: str
    batch_size: int
    plain_ips: float
    worker_ips: float
    ratio: float
    ratio_low: float


def variant_of(architecture: Architecture, source: Path, dtype: str) -> Variant:
    """Return the architecture as a catalog would name it."""
    return Variant(
        variant_id=architecture.name,
        base=architecture.name,
        pipeline="StableDiffusionPipeline",
        source=str(source),
        num_inference_steps=architecture.num_steps,
        guidance_scale=architecture.guidance_scale,
        width=architecture.side,
        height=architecture.side,
        dtype=dtype,
    )


def plain_loop(variant: Variant, device: str) -> Run:
    """Return what most people write: load, move to the device, call."""
    pipeline: Any = diffusers.StableDiffusionPipeline.from_pretrained(
        variant.source, dtype=getattr(torch, variant.dtype), local_files_only=True
    )
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)

    def run(batch: BatchSpec) -> None:
        pipeline(
            prompt=[drawing.prompt for drawing in batch.drawings],
            num_inference_steps=batch.num_inference_steps,
            guidance_scale=batch.guidance_scale,
            width=batch.width,
            height=batch.height,
            generator=[torch.Generator("cpu").manual_seed(d.seed) for d in batch.drawings],
            output_type="np",
        )

    return run


def worker_backend(variant: Variant, device: str, sizes: Sequence[int], compile_mode: str) -> Run:
    """Return a worker's way: its backend, compiled as its settings say."""
    backend = DiffusersBackend(
        device, torch.get_num_threads(), {variant.variant_id: tuple(sizes)}, compile_mode
    )
    replica = backend.load(variant, None)
    never = threading.Event()

    pending: list[Picture] = []

    def run(batch: BatchSpec) -> None:
        # Images of the batch before, which were decoded beside this one, as in a worker.
        images = replica.run(batch, never)
        for picture in pending:
            settled(picture)
        pending[:] = images

    return run


def compare(
    variant: Variant,
    batch_size: int,
    plain: Run,
    worker: Run,
    *,
    num_rounds: int,
    round_s: float,
) -> Row:
    """Measure both in turns; the first run of each, which compiles, does not count."""
    batch = warm_up_batch(variant, batch_size)
    for run in (plain, worker, plain, worker):
        run(batch)
    rounds = []
    for _ in range(num_rounds):
        rounds.append([batch_size * _rate(run, batch, round_s) for run in (plain, worker)])
    ratios = [ours / theirs for theirs, ours in rounds]
    return Row(
        architecture=variant.variant_id,
        batch_size=batch_size,
        plain_ips=statistics.median(theirs for theirs, _ in rounds),
        worker_ips=statistics.median(ours for _, ours in rounds),
        ratio=statistics.median(ratios),
        ratio_low=min(ratios),
    )


def _rate(run: Run, batch: BatchSpec, round_s: float) -> float:
    """Return runs per second over at least ``round_s``. Both ways return images on the host."""
    began_s = time.perf_counter()
    count = 0
    while time.perf_counter() - began_s < round_s:
        run(batch)
        count += 1
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # what is still being decoded counts, too
    return count / (time.perf_counter() - began_s)
