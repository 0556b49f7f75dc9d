"""Bursts: the same rate curves, with gaps that vary more and more."""

from __future__ import annotations

import dataclasses

from diffserve.experiments.comparison import bullets
from diffserve.experiments.experiment import Context, Figure, Result, Table
from diffserve.experiments.loads import Load, inputs, main_loads, simulation
from diffserve.experiments.spread import repeat
from diffserve.experiments.sweep import Points, documents, sweep_figure, sweep_table

NAME = "bursts"
TITLE = "Bursts"
SYSTEMS = ("diffserve", "diffserve-paper", "diffserve-static", "proteus")
PARAMETER = "coefficient of variation"
CVS = (1.0, 2.0, 3.0, 4.0, 8.0)
QUICK_CVS = (1.0, 3.0, 8.0)


def run(context: Context) -> Result:
    """Draw Gamma gaps on each main trace's rate curve."""
    loads = main_loads(context)
    cvs = QUICK_CVS if context.quick else CVS
    cases = {
        (load.name, system, cv): simulation(dataclasses.replace(load.workload, cv=cv), system)
        for load in loads
        for system in SYSTEMS
        for cv in cvs
    }
    runs = repeat(context, cases)
    tables: list[Table] = []
    figures: list[Figure] = []
    data, answers = {}, []
    for load in loads:
        points = {(s, cv): runs[load.name, s, cv] for s in SYSTEMS for cv in cvs}
        tables.append(sweep_table(f"On the rate curve of {load.title}", PARAMETER, points))
        figures.append(
            sweep_figure(
                f"lines-{load.name}",
                f"Over {PARAMETER}: {load.title}",
                PARAMETER,
                points,
                ticks=cvs,
            )
        )
        data[load.name] = documents(points)
        answers.append(_answer(load, points))
    return Result(
        name=NAME,
        title=TITLE,
        question="What do bursts do that are shorter than a planning period? Arrivals have Gamma "
        "gaps with coefficients of variation from 1 (Poisson) to 8, on the same rate curve.",
        answer="Bursts cost `diffserve` quality, hardly ever an answer." + bullets(answers),
        inputs=inputs(
            loads,
            "Ours: the arrivals, drawn for each seed with Gamma gaps on the trace's rate curve "
            "(the authors' curve is their counts per second, smoothed over 10 s).",
        ),
        tables=tables,
        figures=figures,
        data=data,
    )


def _answer(load: Load, points: Points) -> str:
    ours, theirs = points["diffserve", 3.0], points["diffserve-paper", 3.0]
    return (
        f"At CV 3 on the curve of {load.title}, `diffserve` has "
        f"{ours.spread('slo_violation_ratio').percent()} % violations, "
        f"{ours.spread('rejected_ratio').percent()} % refused and a windowed FID of "
        f"{ours.spread('quality_windowed').text()}; DiffServe as published has "
        f"{theirs.spread('slo_violation_ratio').percent()} % and "
        f"{theirs.spread('quality_windowed').text()}."
    )
