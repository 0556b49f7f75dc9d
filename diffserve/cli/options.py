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

# What is above these is no load that anyone serves, infinity included.
QPS_MAX = 1e6
CV_MAX = 100.0
DURATION_S_MAX = 30 * 86400.0

Slo = Annotated[
    float | None,
    typer.Option(min=0.001, max=SLO_S_MAX, help="Seconds; default: the cascade's."),
]
PeakQps = Annotated[float | None, typer.Option(min=0.001, max=QPS_MAX, help="Rescale the load.")]
Cv = Annotated[
    float | None, typer.Option(min=0.01, max=CV_MAX, help="Variation of gaps; 1: Poisson.")
]
Duration = Annotated[
    float, typer.Option(min=1, max=DURATION_S_MAX, help="Seconds of a generated trace.")
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
