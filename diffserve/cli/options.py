"""Options and arguments that several commands share: flags and help, each written once."""

from __future__ import annotations

from typing import Annotated

import typer

from diffserve.core import SLO_S_MAX

JUDGE = "yuvalkirstain/PickScore_v1"
"""Preference model of a build from a registry."""
FEATURES = "openai/clip-vit-base-patch32"
"""Network under its discriminators: not the judge, whose own score would then decide."""
BATCH_SIZES = "1,2,4,8"
"""That it profiles."""

Slo = Annotated[
    float | None,
    typer.Option(min=0.001, max=SLO_S_MAX, help="Seconds; default: the cascade's."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Admin = Annotated[
    str, typer.Option("--address", metavar="HOST:PORT", help="Controller; default: by settings.")
]
Prompts = Annotated[
    str,
    typer.Option(
        metavar="FILE", help="One prompt per line; default: scenes of one to four things."
    ),
]
WorkerId = Annotated[str, typer.Argument(help="As `diffserve workers list` shows it.")]
Variants = Annotated[
    str, typer.Option(metavar="A,B,...", help="At least two of the shipped; default: all.")
]
Weights = Annotated[
    str, typer.Option(metavar="DIR", help="Of `diffserve train`; default: the shipped ones.")
]
Jobs = Annotated[int, typer.Option(min=1, help="Processes, of one thread each.")]
