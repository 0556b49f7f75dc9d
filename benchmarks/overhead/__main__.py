"""``python -m benchmarks.overhead``: measures, prints a table, writes ``docs/results``."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.overhead.measuring import Parameters, batch_rounds, cost_rounds
from benchmarks.overhead.report import Row, document_of, machine, rows_of, table_of
from diffserve.cli.output import stderr, stdout, table

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
"""The table of the page stands between these; the rest of the page is written by people."""
PAGE = f"# What DiffServe adds to a model\n\n{BEGIN}\n{END}\n"


async def _measured(parameters: Parameters) -> list[Row]:
    with stderr().status("starting a deployment") as shown:
        costs = await cost_rounds(parameters, shown.update)
        shown.update("starting a deployment with a 100 ms model")
        batches = await batch_rounds(parameters, shown.update)
    return rows_of(costs, batches)


def _print(rows: list[Row]) -> None:
    shown = table("figure", ">median (quartiles)", ">target", "met")
    for row in rows:
        met = {True: "yes", False: "no", None: ""}[row.is_met]
        shown.add_row(row.what, row.value.text(), row.target_text, met)
    stdout().print(shown)


def write_page(page: Path, rows: list[Row], parameters: Parameters) -> None:
    """Replace the table of the page, and write the document beside it."""
    text = page.read_text(encoding="utf-8") if page.exists() else PAGE
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    command = (
        f"python -m benchmarks.overhead --rounds {parameters.rounds} "
        f"--seconds {parameters.seconds:g}"
    )
    measured = f"{table_of(rows)}\n{machine()}. Made by `{command}`.\n"
    page.write_text(f"{before}{BEGIN}\n{measured}{END}{after}", encoding="utf-8")
    document = document_of(rows, parameters.rounds, parameters.seconds)
    page.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def main(
    rounds: Annotated[int, typer.Option(min=1, help="interleaved rounds")] = 5,
    seconds: Annotated[
        float, typer.Option(min=0.2, help="length of each measurement in a round, s")
    ] = 3.0,
    output: Annotated[
        Path, typer.Option(help="page to write the table into; figures as JSON beside it")
    ] = RESULTS / "overhead.md",
    write: Annotated[bool, typer.Option(help="write the page, or only print")] = True,
) -> None:
    """Measure what DiffServe adds to a model.

    No-op models through client, load balancer, worker and scoring, against one hop of raw grpc.aio
    in the same round; then how full a worker with 100 ms batches of 4 is kept, and what a lone
    query waits for. Takes rounds x (11 x seconds + 3 s), about 4 minutes by default. Ends with
    status 1 where a target is missed.
    """
    parameters = Parameters(rounds=rounds, seconds=seconds)
    rows = asyncio.run(_measured(parameters))
    _print(rows)
    if write:
        write_page(output, rows, parameters)
    sys.exit(any(row.is_met is False for row in rows))


if __name__ == "__main__":
    typer.run(main)
