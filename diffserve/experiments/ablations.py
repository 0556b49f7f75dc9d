"""What each idea is worth: our system with one of them taken out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

from diffserve.experiments.comparison import summaries
from diffserve.experiments.drawing import look
from diffserve.experiments.experiment import Context, Figure, Result, Table
from diffserve.experiments.loads import inputs, main_loads, simulation
from diffserve.experiments.spread import Runs, repeat
from diffserve.experiments.sweep import labelled_table
from diffserve.sim.run import Simulation
from diffserve.sim.settings import LiveSettings

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

    from diffserve.experiments.loads import Load

NAME = "ablations"
TITLE = "What each idea is worth"
FULL = "diffserve"
CVS = (None, 3.0)
"""As the trace is, and with bursts."""


def variants(load: Load, cv: float | None) -> Mapping[str, Simulation]:
    """Return the runs on a load, ours first."""
    workload = dataclasses.replace(load.workload, cv=cv)

    def with_settings(**environ: str) -> Simulation:
        settings = LiveSettings.load(
            {f"DIFFSERVE_CONTROLLER_{name.upper()}": value for name, value in environ.items()}
        )
        return simulation(workload, FULL, settings=settings)

    return {
        FULL: simulation(workload, FULL),
        "light images of deferred queries thrown away": simulation(
            workload, "diffserve-no-fallback"
        ),
        "defers only what the plan is sure to carry": simulation(workload, "diffserve-sure-share"),
        "planned once, for the peak": simulation(workload, "diffserve-plan-once"),
        "published dispatch and drop rule": simulation(workload, "diffserve-published-dispatch"),
        "maximises the threshold, stops at the best share": with_settings(objective="threshold"),
        "plans use 100 % of a pool": with_settings(utilisation_max="1.0"),
        "plans every 10 s": with_settings(planning_period_s="10"),
        "defers as many, whichever (random)": simulation(workload, "random"),
        "DiffServe as published": simulation(workload, "diffserve-paper"),
    }


def run(context: Context) -> Result:
    """Take out one idea at a time, on each main trace, smooth and bursty."""
    loads = main_loads(context)
    cases = {
        (load.name, cv, label): case
        for load in loads
        for cv in CVS
        for label, case in variants(load, cv).items()
    }
    runs = repeat(context, cases)
    tables: list[Table] = []
    figures: list[Figure] = []
    data = {}
    for load in loads:
        for cv in CVS:
            chosen = {label: r for (n, c, label), r in runs.items() if (n, c) == (load.name, cv)}
            bursty = f", gaps with CV {cv:g}" if cv else ""
            title = f"On {load.title}{bursty}"
            kind = f"{load.name}-{'bursty' if cv else 'as-is'}"
            rows = {(label,): r for label, r in chosen.items()}
            tables.append(labelled_table(title, ("system",), rows))
            figures.append(
                Figure(
                    kind,
                    title,
                    functools.partial(_draw, systems=chosen),
                    "Medians over the seeds; shorter bars are better. The bars on the right are "
                    "what the FID by the authors' table lies above that of the clairvoyant fluid "
                    "bound, the figures at their ends the FID itself. Both axes start at zero.",
                    size=(9.5, 3.6),
                )
            )
            data[kind] = summaries(chosen)
    return Result(
        name=NAME,
        title=TITLE,
        question="Which of the ideas in `diffserve` carries how much? One is exchanged at a time, "
        "everything else stays.",
        answer=_answer({label: r for (n, c, label), r in runs.items() if (n, c) == ("own", None)}),
        inputs=inputs(loads),
        tables=tables,
        figures=figures,
        data=data,
    )


def _answer(systems: Mapping[str, Runs]) -> str:
    full = systems[FULL]
    worst = max(
        (label for label in systems if label != FULL and "published" not in label),
        key=lambda label: systems[label].spread("quality_windowed").median,
    )
    dispatch = systems["published dispatch and drop rule"]
    fallback = systems["light images of deferred queries thrown away"]
    return (
        "On our trace, dispatch carries the deadlines: with random dispatch to FIFO queues and the "
        f"published drop rule our own plans violate "
        f"{dispatch.spread('slo_violation_ratio').percent()} % instead of "
        f"{full.spread('slo_violation_ratio').percent()} %, because a plan for counted arrivals "
        "leaves no room for unequal queues. Keeping the light images is what makes a full heavy "
        "stage safe: without them it is "
        f"{fallback.spread('slo_violation_ratio').percent()} %. Quality falls most with "
        f"*{worst}*: {systems[worst].spread('quality_windowed').text()} instead of "
        f"{full.spread('quality_windowed').text()}. Pacing alone has no row: it cannot be taken "
        "out of the balancer without a switch in the code that serves, and there is none."
    )


def _draw(canvas: Canvas, systems: Mapping[str, Runs]) -> None:
    left, right = canvas.subplots(1, 2, sharey=True)
    labels = list(systems)[::-1]
    colors = [look(FULL).color if label == FULL else "#b0b0b0" for label in labels]
    late = [100.0 * systems[x].spread("slo_violation_ratio").median for x in labels]
    quality = [systems[x].spread("quality_windowed").median for x in labels]
    bound = systems[FULL].spread("bound_quality_windowed").median
    above = [max(0.0, value - bound) for value in quality]
    for axes, lengths, values in ((left, late, late), (right, above, quality)):
        axes.barh(labels, lengths, color=colors, height=0.65)
        axes.grid(visible=False, axis="y")
        for row, (length, value) in enumerate(zip(lengths, values, strict=True)):
            axes.annotate(
                f"{value:.2f}",
                (length, row),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
            )
    left.set_title("violations, % of queries")
    right.set_title(f"windowed FID above the bound of {bound:.2f}")
    left.set_xlim(0.0, 1.15 * max(1.0, *late))
    right.set_xlim(0.0, 1.15 * max(above))
