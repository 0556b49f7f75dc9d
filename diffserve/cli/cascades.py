"""``diffserve cascade``: names, flags and help of its subcommands.

Implementations are imported when their command runs, as in ``main``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffserve.cli.options import Admin, Jobs, Json, Variants, Weights

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
    variants: Variants = "",
    prompts: Annotated[int, typer.Option(min=2, help="Of each of six levels.")] = 40,
    budget_minutes: Annotated[
        float, typer.Option(min=0.1, help="Drawing stops then; what is there counts.")
    ] = 25.0,
    quality_kept: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the best variant's accuracy to keep.")
    ] = 0.97,
    weights: Weights = "",
    jobs: Jobs = 2,
    as_json: Json = False,
) -> None:
    """Construct cascades from the embedded variants: profile, draw, grade, choose, write."""
    from diffserve.cli.build import Options, run_build

    options = Options(
        out=Path(out),
        variants=tuple(name for name in variants.split(",") if name),
        count=prompts,
        budget_s=60.0 * budget_minutes,
        quality_kept=quality_kept,
        weights=Path(weights) if weights else None,
        jobs=jobs,
    )
    run_build(options, as_json=as_json)


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
    address: Admin = "",
    as_json: Json = False,
) -> None:
    """Serve the cascades of another catalog too, one of them by default; survives restarts.

    Its variants and discriminators must be the running deployment's. A changed cascade needs a
    new name. Going back is activating the former catalog.

    Examples: diffserve cascade activate measured.toml;
    diffserve cascade activate measured.toml --cascade quick
    """
    from diffserve.cli.cascade import activate

    activate(catalog, cascade, address, as_json=as_json)
