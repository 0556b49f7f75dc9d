"""Training the embedded models; ``diffserve train`` is its command line.

A text-to-image model is trained in two stages: a layout planner, on captions alone, then palette
and denoiser, with exact layouts. The discriminators learn from renders and from the images of
finished light and heavy models. A run folder holds one folder per model and stage, with checkpoint
and log, and ``weights/`` with everything that is finished, in the form that ships.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import UNet2DConditionModel

from diffserve.embedded.checker import load_or_train_checker
from diffserve.embedded.discriminator_task import DiscriminatorTask, fit_temperature
from diffserve.embedded.distillation import DistillationTask, teach
from diffserve.embedded.export import export_discriminator, export_pipeline, export_realness
from diffserve.embedded.growth import grow
from diffserve.embedded.judging import judge_images
from diffserve.embedded.networks import SIZES, new_denoiser, new_palette, new_planner
from diffserve.embedded.palette import Palette
from diffserve.embedded.pipeline import EmojiScenePipeline
from diffserve.embedded.presets import (
    CHECKER_FOLDER,
    DISCRIMINATOR_FOLDER,
    HEAVY,
    LIGHT,
    MEDIUM,
    REALNESS_FOLDER,
    WEIGHTS,
    Preset,
)
from diffserve.embedded.realness import RealnessTask
from diffserve.embedded.recipes import (
    LIGHT_IMAGES,
    NUM_JUDGED,
    PIPELINES,
    REALNESS,
    RENDERS,
    PipelineRecipe,
    Stage,
)
from diffserve.embedded.scenes import JITTER_PX
from diffserve.embedded.tasks import DenoiserTask, PlannerTask
from diffserve.embedded.text_encoder import LayoutPlanner
from diffserve.embedded.tokenizer import build_tokenizer
from diffserve.embedded.trainer import Budget, TrainConfig, Trainer, TrainingTask, seed_everything

#: What can be trained, in an order in which everything finds what it needs.
TARGETS = ("medium", "heavy", "light", "tiny", "discriminator", "checker")

TaskT = TypeVar("TaskT", bound=TrainingTask)
_Parts = tuple[LayoutPlanner, Palette, UNet2DConditionModel]


@dataclass(frozen=True)
class TrainOptions:
    """How to train.

    Attributes:
        run_dir: Receives checkpoints, logs and the finished weights.
        seed: Seeds initial weights, data and noise.
        device: Torch device name.
        scale: Multiplies every stage's number of steps, and the images to learn from.
        minutes: Wall-clock time of every stage, instead of a number of steps.
        batch_size: Samples per step, instead of the recipe's.
        resume: Whether to continue from the checkpoints in ``run_dir``.
    """

    run_dir: Path
    seed: int = 0
    device: str = "cpu"
    scale: float = 1.0
    minutes: float | None = None
    batch_size: int | None = None
    resume: bool = False

    @property
    def weights(self) -> Path:
        """Where finished models go."""
        return self.run_dir / "weights"


def train(target: str, options: TrainOptions) -> Path:
    """Train one of ``TARGETS`` and return the folder of its finished weights.

    Models that it needs are taken from this run's weights, or else from the shipped ones.
    """
    seed_everything(options.seed)
    if target in PIPELINES:
        return _train_pipeline(target, PIPELINES[target], options)
    if target == "discriminator":
        return _train_discriminators(options)
    folder = options.weights / CHECKER_FOLDER
    load_or_train_checker(folder / "model.safetensors")
    return folder


def _train_pipeline(target: str, recipe: PipelineRecipe, options: TrainOptions) -> Path:
    begin = _begin if recipe.planner is not None else _grow
    planner, palette, denoiser = begin(target, recipe, options)
    task: DenoiserTask | DistillationTask
    if recipe.num_lessons:
        teacher = _load(MEDIUM, options)
        count = _scaled(recipe.num_lessons, options)
        lessons = teach(teacher, count, MEDIUM.num_inference_steps, options.seed)
        task = DistillationTask(palette, denoiser, lessons)
    else:
        task = DenoiserTask(
            palette,
            denoiser,
            is_guided=recipe.is_guided,
            is_told_shifts=recipe.is_told_shifts,
            noising=recipe.noising,
        )
    task = _train(target, recipe.denoiser, task, options)
    folder = options.weights / recipe.folder
    max_shift_px = JITTER_PX if recipe.is_told_shifts else 0
    export_pipeline(planner, task.palette, task.denoiser, folder, max_shift_px)
    return folder


def _begin(target: str, recipe: PipelineRecipe, options: TrainOptions) -> _Parts:
    """Train a planner; return it with a palette and a denoiser that know nothing yet."""
    size, tokenizer = SIZES[target], build_tokenizer()
    task = PlannerTask(new_planner(size, tokenizer), tokenizer)
    assert recipe.planner is not None
    planner = _train(target, recipe.planner, task, options).planner
    seed_everything(options.seed)
    return planner, new_palette(size), new_denoiser(size)


def _grow(target: str, recipe: PipelineRecipe, options: TrainOptions) -> _Parts:
    """Return the parts of the medium model, the denoiser widened."""
    medium = _load(MEDIUM, options)
    medium.to("cpu", torch.float32)
    seed_everything(options.seed)
    # New ones: the configuration of what was loaded says from which folder it was.
    planner, palette = new_planner(SIZES[target], build_tokenizer()), new_palette(SIZES[target])
    planner.load_state_dict(medium.text_encoder.state_dict())
    palette.load_state_dict(medium.palette.state_dict())
    denoiser = new_denoiser(SIZES[target])
    grow(medium.unet, denoiser, torch.Generator().manual_seed(options.seed))
    return planner.eval(), palette, denoiser


def _train_discriminators(options: TrainOptions) -> Path:
    light, heavy = _load(LIGHT, options), _load(HEAVY, options)
    tokenizer, planner = build_tokenizer(), heavy.text_encoder
    count = _scaled(NUM_JUDGED, options)
    judged = judge_images(light, heavy, count, options.seed)
    realness = _train("discriminator", REALNESS, RealnessTask(judged), options).network
    export_realness(realness.cpu(), options.weights / REALNESS_FOLDER)
    reading = DiscriminatorTask(tokenizer, planner)
    reader = _train("discriminator", RENDERS, reading, options)
    judging = DiscriminatorTask(tokenizer, planner, judged)
    judging.load_state_dict(reader.state_dict())
    network = _train("discriminator", LIGHT_IMAGES, judging, options).network.cpu()
    unseen = judge_images(light, heavy, count // 8 + 1, options.seed + count)
    network.register_to_config(temperature=fit_temperature(network, tokenizer, unseen))
    folder = options.weights / DISCRIMINATOR_FOLDER
    export_discriminator(network, folder)
    return folder


def _load(preset: Preset, options: TrainOptions) -> EmojiScenePipeline:
    """Load a finished pipeline of this run, or else the shipped one."""
    folder = options.weights / preset.folder
    if not folder.exists():
        folder = WEIGHTS / preset.folder
    pipeline: EmojiScenePipeline = EmojiScenePipeline.from_pretrained(folder, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(options.device)
    return pipeline


def _train(target: str, stage: Stage, task: TaskT, options: TrainOptions) -> TaskT:
    """Train one stage and return the averaged task."""
    budget = Budget(steps=_scaled(stage.steps, options))
    if options.minutes is not None:
        budget = Budget(seconds=60 * options.minutes)
    config = TrainConfig(
        budget=budget,
        batch_size=options.batch_size or stage.batch_size,
        learning_rate=stage.learning_rate,
        ema_decay=stage.ema_decay,
        seed=options.seed,
        device=options.device,
    )
    trainer = Trainer(task, config, options.run_dir / target / stage.name)
    if options.resume:
        trainer.resume()
    trainer.run()
    return trainer.averaged


def _scaled(count: int, options: TrainOptions) -> int:
    return max(1, round(count * options.scale))
