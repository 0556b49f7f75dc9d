"""Every system on the main trace: one hump of load, sixteen workers, cascade 1."""

from __future__ import annotations

from diffserve.experiments.comparison import (
    bullets,
    comparison_table,
    scatter,
    summaries,
    time_series,
)
from diffserve.experiments.experiment import Context, Figure, Result
from diffserve.experiments.loads import inputs, main_loads, simulation
from diffserve.experiments.spread import Runs, repeat

NAME = "main_trace"
TITLE = "Every system on the main trace"

SYSTEMS = (
    "diffserve",
    "diffserve-paper",
    "diffserve-static",
    "proteus",
    "clipper-light",
    "clipper-heavy",
    "random",
)
OVER_TIME = ("diffserve", "diffserve-paper", "diffserve-static", "proteus")


def run(context: Context) -> Result:
    """Compare all systems on each main trace."""
    loads = main_loads(context)
    cases = {(load.name, system): simulation(load, system) for load in loads for system in SYSTEMS}
    runs = repeat(context, cases)
    by_load = {load.name: {system: runs[load.name, system] for system in SYSTEMS} for load in loads}
    figures: list[Figure] = []
    for load in loads:
        shown = {system: by_load[load.name][system] for system in OVER_TIME}
        figures += [
            time_series(f"time-{load.name}", f"Over time: {load.title}", shown),
            scatter(
                f"scatter-{load.name}",
                f"Quality against violations: {load.title}",
                by_load[load.name],
            ),
        ]
    return Result(
        name=NAME,
        title=TITLE,
        question="How do the serving systems compare on the paper's main experiment: cascade 1 "
        "(SD-Turbo, SD v1.5), 16 workers, a daily hump of load, SLO 5 s?",
        answer="`diffserve` has next to no violations and comes close to the bound; DiffServe as "
        "published gives up both."
        + bullets(_answer(load.title, by_load[load.name]) for load in loads)
        + "\n\n`random` is our own system deferring as many queries without looking at the images: "
        "the distance between the two is what the discriminator is worth.",
        inputs=inputs(loads),
        tables=[
            comparison_table(load.title[0].upper() + load.title[1:], by_load[load.name])
            for load in loads
        ],
        figures=figures,
        data={name: summaries(systems) for name, systems in by_load.items()},
    )


def _answer(title: str, systems: dict[str, Runs]) -> str:
    ours, theirs = systems["diffserve"], systems["diffserve-paper"]
    return (
        f"On {title}, `diffserve` has {ours.spread('slo_violation_ratio').percent()} % violations "
        f"and a windowed FID of {ours.spread('quality_windowed').text()}, where the bound is "
        f"{ours.spread('bound_quality_windowed').text()}; DiffServe as published has "
        f"{theirs.spread('slo_violation_ratio').percent()} % and "
        f"{theirs.spread('quality_windowed').text()}."
    )
