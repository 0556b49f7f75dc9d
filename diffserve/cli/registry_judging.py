"""Has the judge and the features' network of a registry's build look at what was drawn."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Images

from diffserve.building.catalog_file import Profile
from diffserve.building.rehearsal import Order
from diffserve.cli.output import CliError
from diffserve.cli.progress import progress_bar
from diffserve.cli.registry_drawing import Work, digest
from diffserve.cli.registry_options import RegistryOptions
from diffserve.errors import ConfigError
from diffserve.gain.clip import BATCH_SIZE, Clip
from diffserve.gain.preference import Doubles, Embeddings, preferences, scores_of
from diffserve.gain.training import Drawn

TIMED_SCORES = 10
OnProgress = Callable[[int, int], None]
LoadedT = TypeVar("LoadedT")


def check_networks(options: RegistryOptions) -> None:
    """Fail now where judge or features cannot be used, and not after hours of drawing.

    Raises:
        CliError: one cannot; names the option.
    """
    for option, source in (("judge", options.judge), ("features", options.features)):
        _named(option, functools.partial(Clip.load_small_parts, source))


def looked_at(work: Work, profiles: Mapping[str, Profile], prompts: Sequence[str]) -> Drawn:
    """Have the judge and the features' network look at everything that was drawn."""
    options, key = work.options, digest(*prompts)
    orders = {name: work.orders(work.variants[name], prompts) for name in profiles}
    scores = work.store.remember(f"scores-{key}", lambda: _scores(options, orders, prompts))
    images, texts, scoring_s = work.store.remember(
        f"features-{key}", lambda: _features(options, orders, prompts)
    )
    return Drawn(
        preferences=preferences(scores),
        images=images,
        texts=texts,
        image_s={name: profile.execution_s[1] for name, profile in profiles.items()},
        scoring_s=scoring_s,
    )


def _scores(
    options: RegistryOptions, orders: Mapping[str, Sequence[Order]], prompts: Sequence[str]
) -> dict[str, Doubles]:
    judge = _network("judge", options.judge, options.device)
    paths = {name: [order.image for order in own] for name, own in orders.items()}
    with progress_bar("images judged") as on_progress, _fits("judge", options.judge):
        texts = judge.texts(prompts)
        return {
            name: scores_of(images, texts, judge.scale)
            for name, images in _embedded(judge, paths, on_progress)
        }


def _features(
    options: RegistryOptions, orders: Mapping[str, Sequence[Order]], prompts: Sequence[str]
) -> tuple[dict[str, Embeddings], Embeddings, float]:
    """Return features of images and texts, and the seconds that one image and its text take."""
    clip = _network("features", options.features, options.device)
    paths = {name: [order.scored for order in own] for name, own in orders.items()}
    with progress_bar("images embedded") as on_progress, _fits("features", options.features):
        texts = clip.texts(prompts)
        images = dict(_embedded(clip, paths, on_progress))
    pixels = _pixels(next(iter(paths.values()))[:1])
    seconds = []
    for _ in range(1 + TIMED_SCORES):
        began_s = time.perf_counter()
        clip.images(pixels)
        clip.texts(prompts[:1])
        seconds.append(time.perf_counter() - began_s)
    return images, texts, float(np.median(seconds[1:]))


def _embedded(
    clip: Clip, paths: Mapping[str, Sequence[Path]], on_progress: OnProgress
) -> Iterator[tuple[str, Embeddings]]:
    """Yield every variant's embeddings; few images are in memory at a time."""
    num_done, total = 0, sum(map(len, paths.values()))
    on_progress(0, total)
    for name, files in paths.items():
        batches = []
        for start in range(0, len(files), BATCH_SIZE):
            batches.append(clip.images(_pixels(files[start : start + BATCH_SIZE])))
            num_done += len(batches[-1])
            on_progress(num_done, total)
        yield name, np.concatenate(batches)


def _pixels(files: Sequence[Path]) -> list[NDArray[np.uint8]]:
    images = []
    for file in files:
        with Images.open(file) as image:
            images.append(np.asarray(image.convert("RGB")))
    return images


def _network(option: str, source: str, device: str) -> Clip:
    """Load a network onto the device.

    Raises:
        CliError: it cannot be; names the option.
    """
    clip = _named(option, lambda: Clip.load(source))
    with _fits(option, source):
        clip.to(torch_device(device))
    return clip


@contextlib.contextmanager
def _fits(option: str, source: str) -> Iterator[None]:
    """Say which network it was for which the device's memory was too small."""
    try:
        yield
    except torch.OutOfMemoryError:
        failure = f"--{option}: {source}: out of memory; --device cpu takes longer, but not that"
    else:
        return
    # Raised out here so that it does not refer to the first error, whose traceback holds tensors.
    raise CliError(failure)


def torch_device(device: str) -> str:
    """Return what ``auto`` stands for on this machine, and any other device as it is."""
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    return device


def _named(option: str, load: Callable[[], LoadedT]) -> LoadedT:
    try:
        return load()
    except ConfigError as error:
        raise CliError(f"--{option}: {error}", 2) from None
