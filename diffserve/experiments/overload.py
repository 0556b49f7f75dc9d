"""More than sixteen workers can serve well: sustained, and as a flash crowd."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffserve.experiments.comparison import summaries, time_series
from diffserve.experiments.experiment import Context, Figure, Result, Table
from diffserve.experiments.loads import (
    AUTHORS_OVERLOAD,
    Load,
    authors,
    inputs,
    own,
    simulation,
)
from diffserve.experiments.spread import Runs, Spread, repeat
from diffserve.experiments.sweep import labelled_table
from diffserve.sim.quality import WINDOW_S
from diffserve.sim.workload import WorkloadParameters

NAME = "overload"
TITLE = "Overload and flash crowds"
SYSTEMS = ("diffserve", "diffserve-paper", "diffserve-static", "proteus")
OVER_TIME = ("diffserve", "diffserve-paper", "diffserve-static")
FLASH_S = 400.0
CROWD_S = (180.0, 220.0)
"""When the crowd of the trace ``flash`` is there, if it lasts ``FLASH_S``: whole windows."""
SETTLED_S = 60.0
NEAR = 0.05


def run(context: Context) -> Result:
    """Serve sustained overload and crowds; measure how long crowds are felt."""
    crowds = [_crowd(40.0), _crowd(64.0)]
    sustained = [
        own(40.0),
        *authors(context, AUTHORS_OVERLOAD, "the authors' 3-40 qps trace"),
        own(64.0),
    ]
    loads = [*sustained, *crowds]
    cases = {(load.title, system): simulation(load, system) for load in loads for system in SYSTEMS}
    runs = repeat(context, cases)
    by_load = {load.title: {s: runs[load.title, s] for s in SYSTEMS} for load in loads}
    figures: list[Figure] = [
        time_series(
            load.name,
            f"Over time: {load.title}",
            {s: by_load[load.title][s] for s in OVER_TIME},
            shaded=CROWD_S,
            smoothing=1,
        )
        for load in crowds
    ]
    ours = [(load.title, by_load[load.title]["diffserve"]) for load in loads]
    violations = max(r.spread("slo_violation_ratio").median for _, r in ours)
    refused = max(r.spread("rejected_ratio").median for _, r in ours)
    felt = [recovery_s(by_load[load.title]["diffserve"]).text(".0f") + " s" for load in crowds]
    return Result(
        name=NAME,
        title=TITLE,
        question="When load exceeds what the fleet can serve at its best quality, what is given up "
        "first, quality or queries? And how fast is it over when a crowd has left?",
        answer=f"`diffserve` gives up quality: over all these loads it has at most "
        f"{100.0 * violations:.2f} % violations and {100.0 * refused:.2f} % refusals (medians), "
        f"and {' and '.join(felt)} after the two crowds' ends "
        "everything is as before. The rows of DiffServe as published show that it gives up "
        "both.",
        inputs=inputs(
            sustained,
            "Ours: the flash crowds (`flash`, 400 s: a quarter of the peak, from 180 s to 220 s "
            "four times that, Poisson gaps).",
        ),
        tables=[
            labelled_table(
                "Every load",
                ("load", "system"),
                {(load, s): r for load, systems in by_load.items() for s, r in systems.items()},
            ),
            _recovery_table(crowds, by_load),
        ],
        figures=figures,
        data={load: summaries(systems) for load, systems in by_load.items()}
        | {
            "recovery_s": {
                load.title: {s: recovery_s(by_load[load.title][s]).document() for s in SYSTEMS}
                for load in crowds
            }
        },
    )


def _crowd(peak_qps: float) -> Load:
    return Load(
        name=f"crowd-{peak_qps:g}",
        title=f"flash crowd, {peak_qps / 4:g} to {peak_qps:g} qps",
        workload=WorkloadParameters(trace="flash", peak_qps=peak_qps, duration_s=FLASH_S),
        whose="",
        peak_s=CROWD_S[0],
    )


def recovery_s(runs: Runs) -> Spread:
    """Return how long crowds were felt, over the seeds; NaN where until the end."""
    return Spread.of([felt_s(metrics["windows"]) for metrics in runs.metrics])


def felt_s(windows: Mapping[str, Any]) -> float:
    """Return the seconds from the crowd's end until everything is as it was before. Pure.

    That is the end of the first of two windows in a row without violations, and with a heavy share
    at most five points below its mean from a minute after the start until the crowd came.
    """
    starts, shares = windows["start_s"], windows["heavy_share"]
    before = [
        share
        for start, share in zip(starts, shares, strict=True)
        if share is not None and SETTLED_S <= start < CROWD_S[0]
    ]
    usual = sum(before) / len(before)
    is_well = [
        late == 0 and (share is None or share >= usual - NEAR)
        for late, share in zip(windows["violations"], shares, strict=True)
    ]
    for start, well, again in zip(starts, is_well, is_well[1:], strict=False):
        if start >= CROWD_S[1] and well and again:
            return float(start + WINDOW_S - CROWD_S[1])
    return float("nan")


def _recovery_table(crowds: list[Load], by_load: Mapping[str, Mapping[str, Runs]]) -> Table:
    rows = []
    for load in crowds:
        for system, runs in by_load[load.title].items():
            during = Spread.of([_violations_during(m["windows"]) for m in runs.metrics])
            known = [felt_s(metrics["windows"]) for metrics in runs.metrics]
            never = sum(seconds != seconds for seconds in known)
            rows.append(
                (
                    load.title,
                    system,
                    during.percent(),
                    runs.spread("rejected_ratio").percent(),
                    Spread.of(known).text(".0f"),
                    f"{never} of {len(known)}",
                )
            )
    return Table(
        "How long the crowds were felt",
        (
            "load",
            "system",
            "violations among the crowd, %",
            "refused, % of all",
            "recovered after, s",
            "never recovered",
        ),
        rows,
        f"Recovered: from the crowd's end to the end of the first of two windows in a row, each of "
        f"{WINDOW_S:g} s, without violations and with a heavy share at most five points below what "
        "it was before; so 5 s is the least. Never: not before the trace ended, 180 s later. "
        "A system that violates now and then without any crowd waits long for two such windows; "
        "there the figure says more about the system than about the crowd.",
    )


def _violations_during(windows: Mapping[str, Any]) -> float:
    chosen = [
        (late, count)
        for start, late, count in zip(
            windows["start_s"], windows["violations"], windows["arrivals"], strict=True
        )
        if CROWD_S[0] <= start < CROWD_S[1]
    ]
    return float(sum(late for late, _ in chosen) / max(1, sum(count for _, count in chosen)))
