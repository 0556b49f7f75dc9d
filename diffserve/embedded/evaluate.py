"""Draws held-out prompts with the embedded models and judges every image.

Combinations of objects are ones that training never saw. The judges share nothing with the models:
the slot checker, a CNN trained on real renders with a network and a seed of its own; the oracle,
which compares with the sprites and is stricter about the drawing; and ImageNet features.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

from diffserve.embedded.captions import Prompt, plain_caption, sample_prompt
from diffserve.embedded.checker import SHIPPED_CHECKER, SlotChecker, load_or_train_checker
from diffserve.embedded.discriminator import SceneDiscriminator
from diffserve.embedded.features import ImageFeatures, reference_distances
from diffserve.embedded.oracle import is_right
from diffserve.embedded.pipeline import EmojiScenePipeline, draw_images
from diffserve.embedded.presets import DISCRIMINATOR_FOLDER, REALNESS_FOLDER, WEIGHTS, Preset
from diffserve.embedded.realness import RealnessDiscriminator
from diffserve.embedded.scenes import IMAGE_PX, Array, Level, render
from diffserve.side_by_side import each

_BATCH_SIZE = 20
_TIMED_PROMPT = "flat style, an owl, sky blue background"
_TIMED_ROUNDS = 5
_TIMED_SCORES = 10
#: Another set of real images is rendered from prompts of seeds this much higher.
_REFERENCE_SEEDS = 1000

#: Both kinds of discriminators, by folder.
Discriminator = SceneDiscriminator | RealnessDiscriminator
DISCRIMINATORS: Mapping[str, type[SceneDiscriminator] | type[RealnessDiscriminator]] = (
    MappingProxyType(
        {DISCRIMINATOR_FOLDER: SceneDiscriminator, REALNESS_FOLDER: RealnessDiscriminator}
    )
)

_Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to evaluate.

    Attributes:
        presets: The variants, the fastest first.
        seeds: Each draws its own prompts and noise.
        count: Prompts per level and seed.
        weights: Folder of the models' folders.
        with_features: Whether to look at the images with ImageNet features and the oracle too.
        jobs: Processes, of one thread each.
    """

    presets: tuple[Preset, ...]
    seeds: tuple[int, ...]
    count: int
    weights: Path = WEIGHTS
    with_features: bool = True
    jobs: int = 2


@dataclass(frozen=True)
class Part:
    """Some prompts of one level and seed, drawn in one batch.

    Attributes:
        request: What they are part of.
        seed: Of prompts and noise.
        level: Of the prompts.
        start: Index of the first among the prompts of that level and seed.
    """

    request: Request
    seed: int
    level: Level
    start: int

    @property
    def prompts(self) -> list[Prompt]:
        """The prompts, at most ``_BATCH_SIZE``."""
        prompts = evaluation_prompts(self.level, self.request.count, self.seed)
        return prompts[self.start : self.start + _BATCH_SIZE]


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What one variant drew for N prompts, and what the judges say.

    Attributes:
        by_checker: Whether each image shows what was asked for, in any style; shape (N,).
        confidences: Of every discriminator in the images, by its folder, each shape (N,).
        by_oracle: The same, with the style, and more strictly; None where it was not asked.
        distances: To the nearest reference render; None where it was not measured.
        features: Shape (N, 1280); None where they were not computed.
    """

    by_checker: NDArray[np.bool_]
    confidences: Mapping[str, _Floats]
    by_oracle: NDArray[np.bool_] | None = None
    distances: _Floats | None = None
    features: _Floats | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was drawn for one part.

    Attributes:
        drawn: By the name of the variant.
        real: Features of renders of the same prompts; None where they were not computed.
        real_distances: Of those renders to their references; None likewise.
        other_real: Features of renders of other held-out prompts of the level; None likewise.
    """

    drawn: Mapping[str, Drawn]
    real: _Floats | None = None
    real_distances: _Floats | None = None
    other_real: _Floats | None = None


def evaluation_prompts(level: Level, count: int, seed: int) -> list[Prompt]:
    """Return prompts of a level; combinations of objects are the held-out ones."""
    rng = np.random.default_rng([seed, list(Level).index(level)])
    return [sample_prompt(rng, level, held_out=True) for _ in range(count)]


def load_pipeline(preset: Preset, weights: Path = WEIGHTS) -> EmojiScenePipeline:
    """Load a shipped pipeline in float32 on the CPU, without progress bars."""
    diffusers.utils.logging.disable_progress_bar()
    pipeline: EmojiScenePipeline = EmojiScenePipeline.from_pretrained(
        weights / preset.folder, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(
    pipeline: EmojiScenePipeline, preset: Preset, texts: Sequence[str], seed: int, start: int = 0
) -> Array:
    """Draw one image per text with the preset's settings, uint8, shape (N, 64, 64, 3).

    Args:
        pipeline: The preset's.
        preset: Steps and guidance.
        texts: Prompts.
        seed: Of the noise.
        start: Index of the first text, where these are only some; its noise depends on it.
    """
    batches = []
    for first in range(0, len(texts), _BATCH_SIZE):
        batch = texts[first : first + _BATCH_SIZE]
        seeds = [1000 * seed + start + first + row for row in range(len(batch))]
        batches.append(
            draw_images(pipeline, batch, preset.num_inference_steps, preset.guidance_scale, seeds)
        )
    return np.concatenate(batches)


def parts_of(request: Request) -> list[Part]:
    """Return the parts of a request: seeds, then levels, in order."""
    starts = range(0, request.count, _BATCH_SIZE)
    return [
        Part(request, seed, level, start)
        for seed, level, start in itertools.product(request.seeds, Level, starts)
    ]


def evaluate(
    request: Request, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[Part, Outcome]:
    """Draw and judge everything, in several processes.

    Args:
        request: What to evaluate.
        on_progress: Called with the prompts done and the prompts in all.

    Returns:
        What was drawn for each part, in order.

    Raises:
        ConfigError: The packages of the features are not installed.
    """
    if request.with_features:
        ImageFeatures()  # fail now, and not after minutes in another process
    parts = parts_of(request)
    total = len(request.seeds) * len(Level) * request.count
    outcomes: dict[Part, Outcome] = {}
    done = 0
    on_progress(done, total)
    for part, outcome in each(draw_part, {part: part for part in parts}, request.jobs):
        outcomes[part] = outcome
        done += len(part.prompts)
        on_progress(done, total)
    return {part: outcomes[part] for part in parts}


def draw_part(part: Part) -> Outcome:
    """Draw and judge a part with all variants, on one thread."""
    torch.set_num_threads(1)
    request, prompts = part.request, part.prompts
    texts = [prompt.text for prompt in prompts]
    images = {
        preset.name: draw(_pipeline(preset, request.weights), preset, texts, part.seed, part.start)
        for preset in request.presets
    }
    if not request.with_features:
        drawn = {name: _judge(drawings, prompts, request) for name, drawings in images.items()}
        return Outcome(drawn=drawn)
    features, rng = _features(), np.random.default_rng([part.seed, part.start])
    others = evaluation_prompts(part.level, request.count, part.seed + _REFERENCE_SEEDS)
    real, other_real = (
        np.stack([render(prompt.scene, rng) for prompt in group])
        for group in (prompts, others[part.start :][: len(prompts)])
    )
    *distances, real_distances = _distances(features, [*images.values(), real], prompts)
    return Outcome(
        drawn={
            name: dataclasses.replace(
                _judge(drawings, prompts, request),
                by_oracle=np.array(
                    [is_right(*pair) for pair in zip(drawings, prompts, strict=True)]
                ),
                distances=near,
                features=features.pooled(drawings),
            )
            for (name, drawings), near in zip(images.items(), distances, strict=True)
        },
        real=features.pooled(real),
        real_distances=real_distances,
        other_real=features.pooled(other_real),
    )


def _judge(images: Array, prompts: list[Prompt], request: Request) -> Drawn:
    texts = [prompt.text for prompt in prompts]
    return Drawn(
        by_checker=np.array(_checker().are_right(list(images), prompts)),
        confidences={
            folder: load_discriminator(folder, request.weights).score(images, texts)
            for folder in DISCRIMINATORS
        },
    )


def _distances(
    features: ImageFeatures, sets: Sequence[Array], prompts: list[Prompt]
) -> list[_Floats]:
    """Return the distances of sets of images; a prompt's references are rendered once for all."""
    rows = [
        reference_distances(features, [images[index] for images in sets], prompt)
        for index, prompt in enumerate(prompts)
    ]
    return list(np.array(rows, np.float32).T)


@dataclass(frozen=True)
class Costs:
    """What variants and discriminators cost; times are processor seconds of one thread.

    Attributes:
        images_s: Of one image: by batch size, then by variant.
        scores_s: Of one score, by the folder of the discriminator.
        num_parameters: By variant.
    """

    images_s: Mapping[int, Mapping[str, float]]
    scores_s: Mapping[str, float]
    num_parameters: Mapping[str, int]


def measure_costs(request: Request, batch_sizes: Sequence[int] = (1, 4)) -> Costs:
    """Measure what images and scores cost: the medians of rounds in which all take their turns.

    Processor time, because other work on the machine lengthens only the wall clock's.
    """
    torch.set_num_threads(1)
    pipelines = {preset: load_pipeline(preset, request.weights) for preset in request.presets}
    images_s = {}
    for size in batch_sizes:
        rounds = [
            {
                preset.name: _processor_s(draw, pipeline, preset, [_TIMED_PROMPT] * size, 0) / size
                for preset, pipeline in pipelines.items()
            }
            for _ in range(1 + _TIMED_ROUNDS)
        ]
        # The first call of a shape also plans its kernels.
        images_s[size] = {
            name: float(np.median([times_s[name] for times_s in rounds[1:]])) for name in rounds[0]
        }
    image = np.zeros((1, IMAGE_PX, IMAGE_PX, 3), np.uint8)
    scores_s = {}
    for folder in DISCRIMINATORS:
        score = load_discriminator(folder, request.weights).score
        times_s = [_processor_s(score, image, [_TIMED_PROMPT]) for _ in range(1 + _TIMED_SCORES)]
        scores_s[folder] = float(np.median(times_s[1:]))
    return Costs(
        images_s,
        scores_s,
        {preset.name: _num_parameters(pipeline) for preset, pipeline in pipelines.items()},
    )


def _processor_s(function: Callable[..., object], *arguments: object) -> float:
    began_s = time.process_time()
    function(*arguments)
    return time.process_time() - began_s


def _num_parameters(pipeline: EmojiScenePipeline) -> int:
    modules = (pipeline.unet, pipeline.text_encoder, pipeline.palette)
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def sheet_prompts(count: int = 48) -> list[str]:
    """Return captions of a contact sheet, drawn at random, as many of every level."""
    groups = [evaluation_prompts(level, count // len(Level), seed=99) for level in Level]
    return [plain_caption(prompt.scene) for group in groups for prompt in group]


@cache
def _pipeline(preset: Preset, weights: Path) -> EmojiScenePipeline:
    return load_pipeline(preset, weights)


@cache
def load_discriminator(folder: str, weights: Path = WEIGHTS) -> Discriminator:
    """Load a shipped discriminator, once."""
    return DISCRIMINATORS[folder].from_pretrained(weights / folder)


_features = cache(ImageFeatures)


@cache
def _checker() -> SlotChecker:
    return load_or_train_checker(SHIPPED_CHECKER)
