"""HADIS's own experiment: four models, six pairs, 64 queries per second, an SLO of 6 s."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from diffserve.experiments.comparison import bullets, scatter, summaries
from diffserve.experiments.comparison import cells as run_cells
from diffserve.experiments.experiment import Context, Result, Table
from diffserve.experiments.hadis_figures import pairs_figure, planned_figure, run_figure
from diffserve.experiments.hadis_planned import (
    BEST_PAIR,
    COMPRESSION,
    EVEN,
    GRIDS,
    HADIS,
    OURS,
    PINNED,
    PROBES,
    Study,
    study,
)
from diffserve.experiments.loads import NUM_WORKERS, catalog
from diffserve.experiments.spread import Runs, repeat
from diffserve.sim.hardware import HardwareParameters
from diffserve.sim.run import Simulation
from diffserve.sim.workload import WorkloadParameters

NAME = "hadis"
TITLE = "HADIS's experiment"
WORKLOAD = WorkloadParameters(trace="azure", peak_qps=64.0, duration_s=347.0)
SYSTEMS: Mapping[str, tuple[str, str]] = {
    "diffserve": ("diffserve", "hadis"),
    "diffserve, turbo and medium": ("diffserve", BEST_PAIR),
    "hadis": ("hadis", "hadis"),
    "diffserve-paper, turbo and medium": ("diffserve-paper", BEST_PAIR),
    "diffserve-paper, turbo and large": ("diffserve-paper", PINNED),
}
"""Row -> policy, and the class or the one pair that it serves."""
DRAWN = {
    OURS: "diffserve",
    HADIS: "hadis",
    "DiffServe, turbo and medium, 201 thresholds": "diffserve-paper",
    "DiffServe, turbo and large, 201 thresholds": "diffserve-static",
}
COLUMNS = (
    "violations, %",
    "refused, %",
    "heavy share, %",
    "FID, windowed",
    "FID, overall",
    "devices busy, %",
    "swaps",
    "p50, s",
    "p99, s",
    "bound of its pairs",
)


def run(context: Context) -> Result:
    """Compare plans, then runs."""
    planned = study(GRIDS)
    runs = repeat(context, {name: simulation(*served) for name, served in SYSTEMS.items()})
    pairs = {
        cascade_id: cascade_id.removeprefix("hadis-").replace("-", " and ")
        for cascade_id in catalog("hadis").classes["hadis"].cascade_ids
    }
    adaptive = {name: runs[name] for name in ("diffserve", "hadis")}
    return Result(
        name=NAME,
        title=TITLE,
        question="HADIS (arXiv 2509.00642) beats DiffServe by choosing the pair of models at run "
        "time and by sending hard prompts straight to the heavy model. What is left of that when "
        "DiffServe gets the best fixed pair, and what when it mixes the pairs?",
        answer=_answer(planned, runs),
        inputs=_inputs(),
        tables=(_planned_table(planned), _run_table(runs)),
        figures=(
            planned_figure(EVEN, planned.curve, DRAWN),
            run_figure(runs),
            pairs_figure(adaptive, pairs),
            scatter("scatter", "Quality against violations", runs),
        ),
        data={"planned": _document(planned), "simulated": summaries(runs)},
    )


def simulation(policy: str, served: str) -> Simulation:
    """Return a run of HADIS's experiment, in its compressed time, with seed 0.

    Args:
        policy: Who serves.
        served: The request class with all pairs, or one pair.
    """
    return Simulation(
        catalog=dataclasses.replace(catalog("hadis"), default_cascade=served),
        workload=WORKLOAD,
        policy=policy,
        num_workers=NUM_WORKERS,
        hardware=hardware(),
    )


def hardware() -> HardwareParameters:
    """Return HADIS's devices: one model at a time, which comes from page-locked host memory."""
    # Any model takes as long by the catalog; the simulator knows one figure.
    load_s = max(variant.load_s for variant in catalog("hadis").variants.values())
    return HardwareParameters(num_resident_max=1, load_s=load_s, scoring_s=0.01)


def _planned_table(planned: Study) -> Table:
    rows = [
        (
            name,
            *(f"{value:.2f}" for value in planned.probes[name]),
            *(f"{value:.2f}" for value in planned.means[name].values()),
        )
        for name in planned.probes
    ]
    return Table(
        "Planned FID on 16 workers, SLO 60 s",
        ("planner", *(f"{qps:g} qps" for qps in PROBES), *(f"mean, {grid}" for grid in GRIDS)),
        rows,
        "Real time; lower is better. Nothing is simulated and nothing kept in reserve: demand is "
        "known, workers are used fully, queues are empty. Means over 0.8 to 6.4 qps, HADIS's least "
        "and peak demand: 15 in equal steps of 0.4 qps, most of them high, and 49 in equal steps "
        "of the logarithm, octave by octave. Rows with 201 thresholds use the table between its "
        "points, interpolated linearly, as DiffServe's own planner would; the others take one of "
        "the profiled rows. "
        "Of mixed traffic the FID is taken as the mean of its parts, which is conservative. HADIS "
        "plans light capacity also for prompts that skip the light model; one row corrects that.",
    )


def _run_table(runs: Mapping[str, Runs]) -> Table:
    rows = [
        (name, *run_cells(found), found.spread("bound_quality_windowed").middle())
        for name, found in runs.items()
    ]
    return Table(
        "Simulated: our Azure-shaped trace, peak 64 qps, SLO 6 s, 16 workers",
        ("system", *COLUMNS),
        rows,
        "Compressed time. Violations: accepted and not answered by the deadline; refused: told so "
        "at the door. FID by HADIS's table, of mixed traffic as the mean of its parts; lower is "
        "better. Swaps: workers that a plan gave another variant, at "
        f"{hardware().load_s:g} s each. Bound: FID of a clairvoyant fluid that may use the same "
        "pairs.",
    )


def _answer(planned: Study, runs: Mapping[str, Runs]) -> str:
    ours, hadis = runs["diffserve"], runs["hadis"]
    fixed, _, fair, pinned = list(runs.values())[1:]
    fine = "DiffServe, turbo and medium, 201 thresholds"
    gains = " and ".join(
        f"{planned.means[HADIS][grid] - planned.means[OURS][grid]:.2f} ({grid})" for grid in GRIDS
    )
    means = {
        name: ", ".join(f"{value:.2f}" for value in planned.means[name].values())
        for name in (OURS, HADIS, fine)
    }
    return "In numbers:" + bullets(
        (
            f"Planned mean FID ({', '.join(GRIDS)}): ours {means[OURS]}, HADIS {means[HADIS]}; "
            f"ours is better by {gains}. DiffServe with its best fixed pair and its fine grid of "
            f"thresholds plans {means[fine]}: as good as HADIS, without pairs that change and "
            "without a router of prompts.",
            f"Simulated violations: ours {ours.spread('slo_violation_ratio').percent()} %, HADIS "
            f"{hadis.spread('slo_violation_ratio').percent()} %, DiffServe as published "
            f"{fair.spread('slo_violation_ratio').percent()} % with its best pair and "
            f"{pinned.spread('slo_violation_ratio').percent()} % with the pair HADIS gave it.",
            f"Simulated windowed FID: ours {ours.spread('quality_windowed').text()}, HADIS "
            f"{hadis.spread('quality_windowed').text()}, DiffServe as published "
            f"{fair.spread('quality_windowed').text()} and "
            f"{pinned.spread('quality_windowed').text()}; the bound is "
            f"{ours.spread('bound_quality_windowed').middle()}.",
            "On its best fixed pair alone, ours has "
            f"{fixed.spread('slo_violation_ratio').percent()} % and "
            f"{fixed.spread('quality_windowed').text()}: in the run, what happens between plans "
            "counts for more than the choice of pairs.",
        )
    )


def _inputs() -> tuple[str, ...]:
    return (
        "HADIS's authors' (public artifact, MIT licence): latency per image on an L40S, FID by "
        "pair, router ratio and discriminator ratio (20,000 images for 5,000 ImageNet captions), "
        "batches that cost 0.9 of single images, the planning period, the swap time from page-"
        "locked memory. FID here is read off that table, linearly between its points; no image "
        "was generated and no FID measured.",
        "HADIS's authors': the compression. Everything passes "
        f"{COMPRESSION:g} times as fast as in reality: latencies, SLO, swaps, the trace. Our "
        "planning period and network delays are not compressed, which is to our disadvantage.",
        "Ours: the trace, generated anew for each seed (`azure`, 347 s, peak 64 qps, Poisson "
        "gaps), in the manner of the public Azure Functions traces.",
        "Ours: the simulator, and in it HADIS and DiffServe re-implemented from their papers and "
        "artifacts. HADIS gets favours: exact latencies, where its compressed run rounds them to "
        "0.1 s and so overrates its light models; workers left over join the pair in use; routing "
        "follows a plan at once. DiffServe gets its best fixed pair, and the pair HADIS gave it.",
        "HADIS's authors': what it is worth to rank prompts by difficulty; that is in the table. "
        "Their router of prompts is hardly better than chance. Here every query draws a rank, "
        "uniformly, and for everybody the table says what skipping the light model by it gives.",
        "For everybody: one model at a time on a device (of 48 GB in HADIS's experiment), "
        f"{hardware().load_s:g} s to load another, 10 ms scoring, 2 % variation of execution "
        "times.",
    )


def _document(planned: Study) -> dict[str, Any]:
    return {
        "probes_qps": PROBES,
        "probes": dict(planned.probes),
        "means": {name: dict(means) for name, means in planned.means.items()},
    }
