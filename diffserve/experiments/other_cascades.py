"""The paper's other two cascades: another light model, and models of SDXL's size."""

from __future__ import annotations

from diffserve.experiments.comparison import bullets, comparison_table, scatter, summaries
from diffserve.experiments.experiment import Context, Figure, Result, Table
from diffserve.experiments.loads import inputs, main_loads, simulation
from diffserve.experiments.spread import repeat

NAME = "other_cascades"
TITLE = "The paper's other cascades"
SYSTEMS = (
    "diffserve",
    "diffserve-paper",
    "diffserve-static",
    "proteus",
    "clipper-light",
    "clipper-heavy",
    "random",
)
CASCADES = {
    "paper-sdxs": "cascade 2 (SDXS, SD v1.5), SLO 5 s",
    "paper-sdxl": "cascade 3 (SDXL-Lightning, SDXL), SLO 15 s",
}


def run(context: Context) -> Result:
    """Compare all systems on cascades 2 and 3."""
    loads = main_loads(context)
    cases = {
        (cascade, load.name, system): simulation(load, system, cascade=cascade)
        for cascade in CASCADES
        for load in loads
        for system in SYSTEMS
    }
    runs = repeat(context, cases)
    tables: list[Table] = []
    figures: list[Figure] = []
    data, answers = {}, []
    for cascade, title in CASCADES.items():
        for load in loads:
            systems = {s: runs[cascade, load.name, s] for s in SYSTEMS}
            where = f"{title}: {load.title}"
            heading = where[0].upper() + where[1:]
            tables.append(comparison_table(heading, systems))
            figures.append(scatter(f"scatter-{cascade}-{load.name}", heading, systems))
            data[f"{cascade} {load.name}"] = summaries(systems)
            ours, theirs = systems["diffserve"], systems["diffserve-paper"]
            answers.append(
                f"{heading}: `diffserve` {ours.spread('slo_violation_ratio').percent()} % "
                f"violations, FID {ours.spread('quality_windowed').text()}; as published "
                f"{theirs.spread('slo_violation_ratio').percent()} %, "
                f"{theirs.spread('quality_windowed').text()}; bound "
                f"{ours.spread('bound_quality_windowed').middle()}."
            )
    return Result(
        name=NAME,
        title=TITLE,
        question="Does the same hold for the paper's cascades 2 and 3, on the same load and the "
        "same 16 workers?",
        answer="Violations and windowed FID:" + bullets(answers),
        inputs=inputs(
            loads,
            "The paper's authors': f(t) of cascade 3 is that of cascade 2, byte for byte, in their "
            "artifact; it has not been measured separately.",
        ),
        tables=tables,
        figures=figures,
        data=data,
    )
