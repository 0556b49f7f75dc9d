"""``diffserve cascade``: names, flags and help of its subcommands.

Implementations are imported when their command runs, as in ``main``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffserve.cli.options import BATCH_SIZES, FEATURES, JUDGE, Admin, Jobs, Json, Weights
from diffserve.cli.output import CliError

if TYPE_CHECKING:
    from diffserve.cli.registry_options import RegistryOptions

CLASS_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
Registries = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME_OR_FILE", help="Build from its variants; may be repeated."),
]
PromptsFile = Annotated[
    str, typer.Option(metavar="FILE", help="Registry: one prompt per line; default: our own.")
]
Judge = Annotated[
    str, typer.Option(metavar="SOURCE", help="Registry: preference model, hub id or folder.")
]
Features = Annotated[
    str, typer.Option(metavar="SOURCE", help="Registry: CLIP under the discriminators.")
]
Device = Annotated[str, typer.Option(help="Registry: auto, cpu, cuda or cuda:N.")]
BatchSizes = Annotated[
    str, typer.Option(metavar="1,N,...", help="Registry: to profile, as far as they fit.")
]

cascade_app = typer.Typer(help="Cascades: list, build, measure, activate.", no_args_is_help=True)


@cascade_app.command("list")
def cascade_list(address: Admin = "", as_json: Json = False) -> None:
    """List cascades with their variants, latencies and quality curves."""
    from diffserve.cli.cascade import list_cascades

    list_cascades(address, as_json=as_json)


@cascade_app.command("build")
def cascade_build(
    out: Annotated[
        str, typer.Option(metavar="DIR", help="Gets cascades.toml and cascades.md.")
    ] = "build/cascades",
    variants: Annotated[
        str, typer.Option(metavar="A,B,...", help="At least two of those there are; default: all.")
    ] = "",
    prompts: Annotated[int, typer.Option(min=2, help="Embedded: of each of six levels.")] = 40,
    budget_minutes: Annotated[
        float, typer.Option(min=0.1, help="Drawing stops then; what is there counts.")
    ] = 25.0,
    quality_kept: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the best variant's quality to keep.")
    ] = 0.97,
    class_id: Annotated[
        str,
        typer.Option(
            "--class", metavar="NAME", help="Let the planner mix all that is kept, as this class."
        ),
    ] = "",
    weights: Weights = "",
    jobs: Jobs = 2,
    registry: Registries = None,
    prompts_file: PromptsFile = "",
    judge: Judge = JUDGE,
    features: Features = FEATURES,
    device: Device = "auto",
    batch_sizes: BatchSizes = BATCH_SIZES,
    as_json: Json = False,
) -> None:
    """Construct cascades from variants: profile, draw, grade, choose, write.

    From the embedded ones, or from those of a registry: of any diffusers pipelines, judged by a
    preference model of CLIP's kind. An interrupted build goes on where it stopped.

    Examples: diffserve cascade build;
    diffserve cascade build --class sprites-by-load;
    diffserve cascade build --registry sd-turbo --prompts-file prompts.txt --device cuda
    """
    names = tuple(name for name in variants.split(",") if name)
    if class_id and not CLASS_ID.fullmatch(class_id):
        raise CliError("--class: must be 1 to 64 characters of A-Z a-z 0-9 _ -", 2)
    if registry:
        from diffserve.cli.registry_options import RegistryOptions

        options = RegistryOptions(
            out=Path(out),
            registries=tuple(registry),
            variants=names,
            prompts_file=Path(prompts_file) if prompts_file else None,
            judge=judge,
            features=features,
            device=device,
            batch_sizes=batch_sizes,
            budget_s=60.0 * budget_minutes,
            quality_kept=quality_kept,
            class_id=class_id,
        )
        if weights:
            raise CliError("--weights are those of embedded variants; a registry names its own", 2)
        _build_from_registry(options, as_json=as_json)
        return
    _refuse_registry_options(prompts_file, judge, features, device, batch_sizes)
    from diffserve.cli.build import Options, run_build

    run_build(
        Options(
            out=Path(out),
            variants=names,
            count=prompts,
            budget_s=60.0 * budget_minutes,
            quality_kept=quality_kept,
            weights=Path(weights) if weights else None,
            jobs=jobs,
            class_id=class_id,
        ),
        as_json=as_json,
    )


def _refuse_registry_options(
    prompts_file: str, judge: str, features: str, device: str, batch_sizes: str
) -> None:
    given = {
        "--prompts-file": prompts_file,
        "--judge": judge != JUDGE,
        "--features": features != FEATURES,
        "--device": device != "auto",
        "--batch-sizes": batch_sizes != BATCH_SIZES,
    }
    for option, is_given in given.items():
        if is_given:
            raise CliError(f"{option} needs --registry: embedded variants have their own", 2)


def _build_from_registry(options: RegistryOptions, *, as_json: bool) -> None:
    # Read while it is imported; advice to developers is no news here.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        from diffserve.cli.build_registry import run_registry_build
    except ModuleNotFoundError as error:
        raise CliError(
            f"--registry needs {error.name}: pip install 'diffserve[models]', or `make setup`", 2
        ) from None
    run_registry_build(options, as_json=as_json)


@cascade_app.command("measure")
def cascade_measure(
    catalog: Annotated[str, typer.Option(help="Shipped name or TOML file.")] = "embedded",
    share: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share deferred; default: the planner's.")
    ] = None,
    prompts: Annotated[int, typer.Option(min=1, help="Of each of six levels.")] = 20,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of prompts and noise.")] = 0,
    as_json: Json = False,
) -> None:
    """Serve embedded models live; tell accuracy and device time against the heavy model alone."""
    from diffserve.cli.measure import Request, measure_cascade

    request = Request(catalog=catalog, share=share, count=prompts, num_workers=workers, seed=seed)
    measure_cascade(request, as_json=as_json)


@cascade_app.command("activate")
def cascade_activate(
    catalog: Annotated[
        str, typer.Argument(metavar="FILE_OR_NAME", help="TOML file, or a shipped catalog's name.")
    ],
    cascade: Annotated[
        str, typer.Option(metavar="ID", help="Becomes the default; default: the file's own.")
    ] = "",
    suffix: Annotated[
        str, typer.Option(metavar="TEXT", help="Added to the names of the file's cascades.")
    ] = "",
    address: Admin = "",
    as_json: Json = False,
) -> None:
    """Serve the cascades of another catalog too, one of them by default; survives restarts.

    Its variants and discriminators must be the running deployment's. A changed cascade needs a
    new name, or --suffix, as after another build. Going back is activating the former catalog.

    Examples: diffserve cascade activate measured.toml;
    diffserve cascade activate measured.toml --cascade quick;
    diffserve cascade activate build/cascades/cascades.toml --suffix july
    """
    from diffserve.cli.cascade import activate

    activate(catalog, cascade, address, suffix=suffix, as_json=as_json)
