"""Train an embedded model: ``python -m diffserve.embedded.train light|heavy|discriminator``.

Light and heavy are trained in two stages: first a layout planner, on captions alone, then the
denoiser. The discriminator, whose planner is the heavy one's, first learns to read renders and then
to judge the images of a finished light pipeline. A run folder holds one folder per stage, with its
checkpoint and log, and after training the exported model in ``model/``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from diffserve.embedded.discriminator_task import (
    DiscriminatorTask,
    fit_temperature,
    judge_light_images,
)
from diffserve.embedded.export import export_discriminator, export_pipeline
from diffserve.embedded.networks import (
    new_heavy_denoiser,
    new_heavy_planner,
    new_light_denoiser,
    new_light_planner,
)
from diffserve.embedded.pipeline import EmojiScenePipeline
from diffserve.embedded.presets import HEAVY, LIGHT, WEIGHTS
from diffserve.embedded.tasks import HEAVY_LEVELS, LIGHT_LEVELS, DenoiserTask, PlannerTask
from diffserve.embedded.tokenizer import build_tokenizer
from diffserve.embedded.trainer import (
    Budget,
    TrainConfig,
    Trainer,
    TrainingTask,
    seed_everything,
)

#: Default wall-clock budgets, without the planners'.
_MINUTES = {"light": 45.0, "heavy": 75.0, "discriminator": 20.0}
#: Planners learn suddenly. The light one stops when it places single objects perfectly and pairs
#: half of the time; a few hundred steps more and light would no longer differ from heavy.
_PLANNER_STEPS = {"light": 2050, "heavy": 2200}
#: Share of the discriminator's budget in which it sees renders only.
_RENDERS_SHARE = 0.6
#: Images of the light model that the discriminator learns from.
_NUM_JUDGED = 4000


@dataclass(frozen=True)
class _Stage:
    """A part of a training run: its folder's name, its batch size and its peak learning rate."""

    name: str
    batch_size: int
    learning_rate: float


_LIGHT_PLANNER = _Stage("planner", 32, 2e-3)
_HEAVY_PLANNER = _Stage("planner", 32, 1e-3)
_DENOISER = _Stage("denoiser", 12, 1e-3)
_RENDERS = _Stage("renders", 48, 1e-3)
_LIGHT_IMAGES = _Stage("light-images", 48, 5e-4)

_TaskT = TypeVar("_TaskT", bound=TrainingTask)


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line (``sys.argv`` by default), train and export."""
    args = _parse(arguments)
    torch.set_num_threads(args.threads)
    seed_everything(args.seed)
    if args.target == "light":
        _train_light(args)
    elif args.target == "heavy":
        _train_heavy(args)
    else:
        _train_discriminator(args)


def _train_light(args: argparse.Namespace) -> None:
    tokenizer = build_tokenizer()
    task = PlannerTask(new_light_planner(tokenizer), tokenizer)
    planner = _train(_LIGHT_PLANNER, task, args, _planner_budget(args)).planner
    seed_everything(args.seed)
    denoiser_task = DenoiserTask(new_light_denoiser(), LIGHT_LEVELS)
    denoiser = _train(_DENOISER, denoiser_task, args, _budget(args)).denoiser
    export_pipeline(planner, denoiser, args.out / "model")


def _train_heavy(args: argparse.Namespace) -> None:
    tokenizer = build_tokenizer()
    task = PlannerTask(new_heavy_planner(tokenizer), tokenizer)
    planner = _train(_HEAVY_PLANNER, task, args, _planner_budget(args)).planner
    seed_everything(args.seed)
    denoiser_task = DenoiserTask(new_heavy_denoiser(), HEAVY_LEVELS)
    denoiser = _train(_DENOISER, denoiser_task, args, _budget(args)).denoiser
    export_pipeline(planner, denoiser, args.out / "model")


def _train_discriminator(args: argparse.Namespace) -> None:
    light, heavy = (
        EmojiScenePipeline.from_pretrained(args.pipelines / preset.folder, local_files_only=True)
        for preset in (LIGHT, HEAVY)
    )
    tokenizer, planner = build_tokenizer(), heavy.text_encoder
    reading = DiscriminatorTask(tokenizer, planner)
    reader = _train(_RENDERS, reading, args, _budget(args, _RENDERS_SHARE))
    judged = judge_light_images(light, args.judged, LIGHT.num_inference_steps, args.seed)
    judging = DiscriminatorTask(tokenizer, planner, judged)
    judging.load_state_dict(reader.state_dict())
    network = _train(_LIGHT_IMAGES, judging, args, _budget(args, 1 - _RENDERS_SHARE)).network
    unseen = judge_light_images(
        light, args.judged // 8 + 1, LIGHT.num_inference_steps, args.seed + args.judged
    )
    network.register_to_config(temperature=fit_temperature(network.cpu(), tokenizer, unseen))
    export_discriminator(network, args.out / "model")


def _planner_budget(args: argparse.Namespace) -> Budget:
    steps = _PLANNER_STEPS[args.target]
    return Budget(steps=steps if args.steps is None else min(steps, args.steps))


def _budget(args: argparse.Namespace, share: float = 1.0) -> Budget:
    """Return a share of the command line's budget."""
    if args.steps is not None:
        return Budget(steps=round(share * args.steps))
    return Budget(seconds=60 * share * (args.minutes or _MINUTES[args.target]))


def _train(stage: _Stage, task: _TaskT, args: argparse.Namespace, budget: Budget) -> _TaskT:
    """Train one stage and return the averaged task."""
    config = TrainConfig(
        budget=budget,
        batch_size=stage.batch_size,
        learning_rate=stage.learning_rate,
        seed=args.seed,
        device=args.device,
    )
    trainer = Trainer(task, config, args.out / stage.name)
    if args.resume:
        trainer.resume()
    trainer.run()
    return trainer.averaged


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=list(_MINUTES))
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, help="wall-clock budget")
    budget.add_argument("--steps", type=int, help="number of training steps")
    parser.add_argument("--out", type=Path, help="run folder (default build/train/TARGET)")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoints")
    parser.add_argument("--device", default="cpu", help="torch device (default cpu)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument(
        "--pipelines",
        type=Path,
        default=WEIGHTS,
        help="folder with the pipelines the discriminator needs (default: the shipped ones)",
    )
    parser.add_argument(
        "--judged",
        type=int,
        default=_NUM_JUDGED,
        help="light images the discriminator learns from",
    )
    args = parser.parse_args(arguments)
    args.out = args.out or Path("build/train") / args.target
    return args


if __name__ == "__main__":
    main()
