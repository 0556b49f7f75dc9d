"""``diffserve cascade``: names, flags and help of its subcommands.

Implementations are imported when their command runs, as in ``main``.
"""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Admin = Annotated[
    str, typer.Option("--address", metavar="HOST:PORT", help="Controller; default: by settings.")
]

cascade_app = typer.Typer(help="Cascades: list, build, measure.", no_args_is_help=True)


@cascade_app.command("list")
def cascade_list(address: Admin = "", as_json: Json = False) -> None:
    """List cascades with their variants, latencies and quality curves."""
    from diffserve.cli.cascade import list_cascades

    list_cascades(address, as_json=as_json)


@cascade_app.command("measure")
def cascade_measure(
    catalog: Annotated[str, typer.Option(help="Shipped name or TOML file.")] = "embedded",
    share: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share deferred; default: the planner's.")
    ] = None,
    prompts: Annotated[int, typer.Option(min=1, help="Held-out prompts, easy to hard.")] = 120,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of prompts and noise.")] = 0,
    as_json: Json = False,
) -> None:
    """Serve embedded models live; tell accuracy and device time against the heavy model alone."""
    from diffserve.cli.measure import Request, measure_cascade

    request = Request(
        catalog=catalog, share=share, num_prompts=prompts, num_workers=workers, seed=seed
    )
    measure_cascade(request, as_json=as_json)
