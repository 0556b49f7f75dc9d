"""What it costs that several load balancers share the workers."""

from __future__ import annotations

from diffserve.experiments.comparison import bullets
from diffserve.experiments.experiment import Context, Figure, Result, Table
from diffserve.experiments.loads import NUM_WORKERS, inputs, main_loads, simulation
from diffserve.experiments.spread import repeat
from diffserve.experiments.sweep import (
    BUSY,
    QUALITY,
    VIOLATIONS,
    documents,
    sweep_figure,
    sweep_table,
)

NAME = "load_balancers"
TITLE = "Several load balancers"
SYSTEM = "diffserve"
PARAMETER = "load balancers"
NUMBERS = (1.0, 2.0, 4.0, 8.0)


def run(context: Context) -> Result:
    """Divide the clients of each main trace among more and more load balancers."""
    loads = main_loads(context)
    runs = repeat(
        context,
        {
            (load.name, number): simulation(load, SYSTEM, num_loadbalancers=int(number))
            for load in loads
            for number in NUMBERS
        },
    )
    tables: list[Table] = []
    figures: list[Figure] = []
    data, answers = {}, []
    for load in loads:
        points = {(SYSTEM, number): runs[load.name, number] for number in NUMBERS}
        tables.append(sweep_table(f"On {load.title}", PARAMETER, points))
        figures.append(
            sweep_figure(
                f"lines-{load.name}",
                f"Over the number of load balancers: {load.title}",
                PARAMETER,
                points,
                (VIOLATIONS, QUALITY, BUSY),
                ticks=NUMBERS,
                is_log=True,
            )
        )
        data[load.name] = documents(points)
        first, last = (points[SYSTEM, number] for number in (NUMBERS[0], NUMBERS[-1]))
        refusals = last.spread("busy_refusals").median / last.spread("queries").median
        answers.append(
            f"On {load.title}, from one to {NUMBERS[-1]:g}: windowed FID from "
            f"{first.spread('quality_windowed').middle('.3f')} to "
            f"{last.spread('quality_windowed').middle('.3f')}, violations from "
            f"{first.spread('slo_violation_ratio').middle('.2f', 100)} % to "
            f"{last.spread('slo_violation_ratio').middle('.2f', 100)} %; with {NUMBERS[-1]:g} a "
            f"query meets {refusals:.1f} busy workers on its way."
        )
    return Result(
        name=NAME,
        title=TITLE,
        question=f"{NUM_WORKERS} workers, clients that take turns with the load balancers: how "
        "much is lost when each of these sees its own queries only? Cascade 1, SLO 5 s.",
        answer="Little, while each owns some workers; more where most are common: queues are "
        "shorter, so batches are smaller and fewer queries can be deferred." + bullets(answers),
        inputs=inputs(loads),
        tables=tables,
        figures=figures,
        data=data,
    )
