"""What quality costs: one load on clusters of different sizes, and load that grows along."""

from __future__ import annotations

from collections.abc import Sequence

from diffserve.experiments.experiment import Context, Result, Table
from diffserve.experiments.loads import AUTHORS_TABLES, OURS, PEAK_QPS, own, simulation
from diffserve.experiments.spread import repeat
from diffserve.experiments.sweep import (
    BUSY,
    QUALITY,
    VIOLATIONS,
    Points,
    documents,
    sweep_figure,
    sweep_table,
)

NAME = "cluster_size"
TITLE = "The size of the cluster"
SYSTEMS = ("diffserve", "diffserve-paper", "proteus")
PARAMETER = "workers"
SIZES = (8.0, 12.0, 16.0, 20.0, 24.0, 32.0, 48.0, 64.0)
SCALED_SIZES = (8.0, 16.0, 32.0, 64.0)
QUICK_SIZES = (8.0, 16.0, 32.0)
QPS_PER_WORKER = 2.0
GOALS = ((18.0, 0.05), (17.5, 0.05), (17.0, 0.01), (16.9, 0.001))
"""Windowed FID and share of violations, each at most."""


def run(context: Context) -> Result:
    """Turn the number of workers, first alone, then with the load."""
    sizes = QUICK_SIZES if context.quick else SIZES
    scaled = QUICK_SIZES if context.quick else SCALED_SIZES
    fixed_cases = {
        (s, size): simulation(own(), s, num_workers=int(size)) for s in SYSTEMS for size in sizes
    }
    scaled_cases = {
        (s, size): simulation(own(QPS_PER_WORKER * size), s, num_workers=int(size))
        for s in SYSTEMS
        for size in scaled
    }
    # One call each: a key is a system and a size in both.
    fixed, grown = repeat(context, fixed_cases), repeat(context, scaled_cases)
    panels = (VIOLATIONS, QUALITY, BUSY)
    titles = (
        f"The same load, peak {PEAK_QPS:g} qps",
        f"Load that grows with the cluster, peak {QPS_PER_WORKER:g} qps per worker",
    )
    return Result(
        name=NAME,
        title=TITLE,
        question="How many devices does a quality cost, and does it get easier with scale? "
        "Cascade 1, SLO 5 s, our Azure-shaped trace.",
        answer=_answer(fixed, grown, sizes, scaled),
        inputs=(
            "Ours: the trace, generated anew for each seed and rate (`azure`, 350 s, Poisson "
            "gaps).",
            AUTHORS_TABLES,
            OURS,
        ),
        tables=[
            _goal_table(fixed, sizes),
            sweep_table(titles[0], PARAMETER, fixed),
            sweep_table(titles[1], PARAMETER, grown),
        ],
        figures=[
            sweep_figure("fixed", titles[0], PARAMETER, fixed, panels, ticks=scaled, is_log=True),
            sweep_figure("grown", titles[1], PARAMETER, grown, panels, ticks=scaled, is_log=True),
        ],
        data={"fixed": documents(fixed), "grown": documents(grown)},
    )


def _answer(fixed: Points, grown: Points, sizes: Sequence[float], scaled: Sequence[float]) -> str:
    goal = GOALS[2]
    needed = {s: _smallest(fixed, s, sizes, goal) for s in SYSTEMS}
    first, last = grown["diffserve", scaled[0]], grown["diffserve", scaled[-1]]
    published = needed["diffserve-paper"]
    return (
        f"For a windowed FID of at most {goal[0]:g} with at most {100 * goal[1]:g} % violations, "
        f"`diffserve` needs {needed['diffserve']}, the smallest that holds it of the sizes tried; "
        "DiffServe as published "
        f"{'reaches that at ' + published if published != '-' else 'reaches that at none'}: more "
        "devices let it defer more, and beyond the best share that makes FID worse. With load that "
        f"grows along, `diffserve` goes from {first.spread('quality_windowed').middle()} at "
        f"{scaled[0]:g} workers to {last.spread('quality_windowed').middle()} at {scaled[-1]:g}: "
        "larger clusters have smaller swings."
    )


def _smallest(
    points: Points, system: str, sizes: Sequence[float], goal: tuple[float, float]
) -> str:
    """Return the smallest size that holds a goal in the median, ``-`` for none."""
    for size in sizes:
        runs = points[system, size]
        if (
            runs.spread("quality_windowed").median <= goal[0]
            and runs.spread("slo_violation_ratio").median <= goal[1]
        ):
            return f"{size:g} workers"
    return "-"


def _goal_table(points: Points, sizes: Sequence[float]) -> Table:
    rows = [
        (
            f"{quality:g}",
            f"{100 * violations:g}",
            *(_smallest(points, system, sizes, (quality, violations)) for system in SYSTEMS),
        )
        for quality, violations in GOALS
    ]
    return Table(
        "Smallest cluster that reaches a goal",
        ("FID, windowed, at most", "violations, %, at most", *SYSTEMS),
        rows,
        f"Of {', '.join(f'{size:g}' for size in sizes)} workers, on the load with peak "
        f"{PEAK_QPS:g} qps; medians. A dash: none of them.",
    )
