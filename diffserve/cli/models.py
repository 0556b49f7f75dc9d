"""``diffserve train|evaluate``, about the models that come with the project: flags and help.

Implementations are imported when their command runs, as in ``main``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffserve.cli.options import Jobs, Json, Variants, Weights


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    app.command()(train)
    app.command()(evaluate)


def train(
    target: Annotated[
        str, typer.Argument(help="medium, heavy, light, tiny, discriminator, checker; all.")
    ],
    run_dir: Annotated[str, typer.Option(help="Checkpoints and weights.")] = "build/train",
    device: Annotated[str, typer.Option(help="Torch device, e.g. cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="Of weights, data and noise.")] = 0,
    scale: Annotated[float, typer.Option(min=0, help="Multiplies the recipes' steps.")] = 1.0,
    minutes: Annotated[float | None, typer.Option(help="Of every stage, not its steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Not the recipes'.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue from the checkpoints.")] = False,
    as_json: Json = False,
) -> None:
    """Train an embedded model, or all of them, on a CPU or GPU."""
    from diffserve.cli.train import run_train
    from diffserve.embedded.train import TrainOptions

    options = TrainOptions(
        run_dir=Path(run_dir),
        seed=seed,
        device=device,
        scale=scale,
        minutes=minutes,
        batch_size=batch_size,
        resume=resume,
    )
    run_train(target, options, threads=threads, as_json=as_json)


def evaluate(
    quick: Annotated[
        bool, typer.Option("--quick", help="In two or three minutes: no features, no page.")
    ] = False,
    variants: Variants = "",
    prompts: Annotated[
        int | None, typer.Option(min=1, help="A level and seed; default: 60, with --quick 12.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Sets of prompts and noise.")] = 3,
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Gets results/embedded.md and images/.")
    ] = "docs",
    weights: Weights = "",
    catalog: Annotated[
        str, typer.Option(metavar="FILE", help="Also write the catalog of the shipped cascades.")
    ] = "",
    jobs: Jobs = 2,
    as_json: Json = False,
) -> None:
    """Measure the embedded models on held-out prompts and write a page with plots and pictures."""
    from diffserve.cli.evaluate import Options, run_evaluate

    options = Options(
        quick=quick,
        variants=tuple(name for name in variants.split(",") if name),
        count=prompts,
        num_seeds=seeds,
        out=Path(out),
        weights=Path(weights) if weights else None,
        catalog=Path(catalog) if catalog else None,
        jobs=jobs,
    )
    run_evaluate(options, as_json=as_json)
