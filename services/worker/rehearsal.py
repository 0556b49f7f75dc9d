"""Profiles one variant and draws prompts with it, loaded as workers load it, without a deployment.

``python -m services.worker.rehearsal``; see ``diffserve.building.rehearsal`` for what it reads and
writes. Threads and compilation are as the worker's settings say, so that what is measured here is
what will be served. The process ends with the variant, and gives all memory back.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffserve import logs
from diffserve.building.catalog_file import Profile
from diffserve.building.rehearsal import Order, Rehearsal, profile_to_event
from diffserve.catalog import MOCK_PIPELINE
from diffserve.config import WorkerSettings, load_settings
from diffserve.core import Variant
from diffserve.errors import BackendError, ConfigError, DiffServeError
from diffserve.profiles.latency import LatencyProfile
from services.worker.backends import Backends
from services.worker.backends.base import (
    OUT_OF_MEMORY,
    Backend,
    Picture,
    Pixels,
    Replica,
    settled,
)
from services.worker.batch import BatchSpec, warm_up_batch, warm_up_failure
from services.worker.encoding import encode, shrink, to_bytes
from services.worker.threads import pin_threads

NUM_ROUNDS = 7
"""Timed runs of each batch size, after the one that plans or compiles its kernels."""
NUM_ROUNDS_MIN = 3
ROUNDS_S = 60.0
"""After this long no further round of a batch size begins, beyond ``NUM_ROUNDS_MIN``."""

Tell = Callable[[str, Any], None]
logger = logging.getLogger(__name__)


def rehearse(rehearsal: Rehearsal, settings: WorkerSettings, tell: Tell) -> None:
    """Load a variant, profile it where that is asked for, and draw.

    Args:
        rehearsal: What to do.
        settings: Of a worker.
        tell: Called with the name and the value of each event.

    Raises:
        ConfigError: the variant cannot be loaded or does not run; names the field.
    """
    variant = rehearsal.variant
    if variant.pipeline == MOCK_PIPELINE:
        raise ConfigError(f"variant.{variant.variant_id}.pipeline: a mock draws nothing")
    sizes = rehearsal.batch_sizes
    backends = Backends(
        rehearsal.device,
        settings.num_threads,
        # Only the sizes count here: networks are compiled for them.
        {variant.variant_id: LatencyProfile(dict.fromkeys(sizes, 1.0))},
        settings.compile,
    )
    backends.prepare((variant,))
    backend = backends.of(variant)
    backend.estimate_bytes(variant)  # tells what is wrong with a local source
    if rehearsal.is_profiled and _may_download(variant):
        # Workers load what is there; the time that a download takes is no time of theirs.
        backend.load(variant, None)
        backend.release()
    began_s = time.perf_counter()
    replica = backend.load(variant, None)
    if rehearsal.is_profiled:
        fitting = _warmed_up(variant, replica, sizes, backend)
        load_s = time.perf_counter() - began_s
        tell("profile", profile_to_event(_profile(variant, replica, fitting, load_s)))
    pending = [order for order in rehearsal.orders if not order.is_done]
    num_drawn = len(rehearsal.orders) - len(pending)
    for start in range(0, len(pending), rehearsal.drawn_at_once):
        orders = pending[start : start + rehearsal.drawn_at_once]
        try:
            for order, picture in zip(orders, _drawn(variant, replica, orders), strict=True):
                _save(order, picture)
        except BackendError as error:
            raise ConfigError(f"variant.{variant.variant_id}: drawing: {error}") from None
        num_drawn += len(orders)
        tell("drawn", num_drawn)


def _may_download(variant: Variant) -> bool:
    """Whether some of the weights are a hub's."""
    loras = (lora.source for lora in variant.loras)
    sources = (variant.source, variant.denoiser, variant.safety_checker, variant.config, *loras)
    is_single = variant.source.endswith(".safetensors")
    return (is_single and not variant.config) or any(
        source and not Path(source).exists() for source in sources
    )


def _warmed_up(
    variant: Variant, replica: Replica, sizes: Sequence[int], backend: Backend
) -> list[int]:
    """Run every size once, as a worker does before it serves; return those that fit."""
    fitting: list[int] = []
    for size in sizes:
        try:
            _run(replica, warm_up_batch(variant, size))
        except BackendError as error:
            if not fitting or not str(error).startswith(OUT_OF_MEMORY):
                raise warm_up_failure(variant, str(error)) from None
            logger.warning("%s: %s; smaller ones it is", variant.variant_id, error)
            backend.release()
            break
        fitting.append(size)
    return fitting


def _profile(variant: Variant, replica: Replica, sizes: Sequence[int], load_s: float) -> Profile:
    seconds = {size: _timed(variant, replica, size) for size in sizes}
    medians = np.maximum.accumulate([np.median(s) for s in seconds.values()])
    return Profile(
        execution_s=dict(zip(seconds, map(float, medians), strict=True)),
        execution_s_p95={size: float(np.quantile(s, 0.95)) for size, s in seconds.items()},
        memory_bytes=replica.memory_bytes,
        load_s=load_s,
    )


def _timed(variant: Variant, replica: Replica, size: int) -> list[float]:
    batch = warm_up_batch(variant, size)
    seconds: list[float] = []
    while len(seconds) < NUM_ROUNDS_MIN or (len(seconds) < NUM_ROUNDS and sum(seconds) < ROUNDS_S):
        began_s = time.perf_counter()
        _run(replica, batch)
        seconds.append(time.perf_counter() - began_s)
    return seconds


def _drawn(
    variant: Variant, replica: Replica, orders: Sequence[Order]
) -> list[Pixels | BackendError]:
    first = warm_up_batch(variant).drawings[0]
    drawings = tuple(
        dataclasses.replace(first, query_id=str(index), prompt=order.prompt, seed=order.seed)
        for index, order in enumerate(orders)
    )
    return _run(replica, dataclasses.replace(warm_up_batch(variant), drawings=drawings))


def _run(replica: Replica, batch: BatchSpec) -> list[Pixels | BackendError]:
    pictures = replica.run(batch, threading.Event())
    return [_settled(picture) for picture in pictures]


def _settled(picture: Picture) -> Pixels | BackendError:
    try:
        return settled(picture)
    except BackendError as error:
        return error


def _save(order: Order, picture: Pixels | BackendError) -> None:
    """Write what became of an order; the file that says that it is done comes last."""
    order.image.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(picture, BackendError):
        logger.warning("%r: %s", order.prompt, picture)
        order.withheld.touch()
        return
    pixels = to_bytes(picture)
    for path, shown in ((order.scored, shrink(pixels)), (order.image, pixels)):
        part = Path(f"{path}.part")
        part.write_bytes(encode(shown, "image/png"))
        part.rename(path)


def main() -> int:
    """Do what standard input says; return 0, or 1 where it failed."""
    # Libraries may print; whoever listens wants events and nothing else.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(name: str, value: Any) -> None:
        events.write(json.dumps({name: value}) + "\n")
        events.flush()

    try:
        settings = load_settings(WorkerSettings, environ=os.environ)
        logs.setup("worker", settings.log_level, settings.log_format)
        pinned = settings.model_copy(update={"num_threads": pin_threads(settings)})
        rehearse(Rehearsal.from_json(sys.stdin.read()), pinned, tell)
    except DiffServeError as error:
        tell("failed", str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
