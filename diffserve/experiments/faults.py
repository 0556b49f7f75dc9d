"""Workers that die or slow down, telemetry that is lost, plans that are late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffserve.experiments.comparison import bullets, summaries, time_series
from diffserve.experiments.experiment import Context, Figure, Result, Table
from diffserve.experiments.loads import Load, inputs, main_loads, simulation
from diffserve.experiments.spread import Runs, Spread, repeat
from diffserve.experiments.sweep import NOTE, labelled_table
from diffserve.sim.faults import Faults

NAME = "faults"
TITLE = "Faults"
SYSTEMS = ("diffserve", "diffserve-paper", "diffserve-static")
KILLED = "4 of 16 workers killed at the peak, for good"


def faults_at(peak_s: float) -> Mapping[str, Faults]:
    """Return what breaks, placed where the load is highest."""
    specifications: Mapping[str, dict[str, Any]] = {
        "nothing": {},
        "3 of 16 workers killed at the peak, for good": {
            "worker_loss": [{"at_s": peak_s, "share": 0.2}]
        },
        KILLED: {"worker_loss": [{"at_s": peak_s, "share": 0.25}]},
        "4 of 16 workers killed at the peak, back after 60 s": {
            "worker_loss": [{"at_s": peak_s, "share": 0.25, "duration_s": 60.0}]
        },
        "4 of 16 workers 1.5 times slower for 100 s": {
            "slow_down": [
                {"at_s": peak_s - 50.0, "share": 0.25, "factor": 1.5, "duration_s": 100.0}
            ]
        },
        "no telemetry for 30 s on the way up": {
            "lost_telemetry": [{"at_s": peak_s - 40.0, "duration_s": 30.0}]
        },
        "plans 7 s late for 60 s on the way up": {
            "late_plan": [{"at_s": peak_s - 70.0, "duration_s": 60.0, "delay_s": 7.0}]
        },
        "no new plan for 60 s on the way up": {
            "late_plan": [{"at_s": peak_s - 70.0, "duration_s": 60.0, "delay_s": 60.0}]
        },
    }
    return {name: Faults.model_validate(fields) for name, fields in specifications.items()}


def run(context: Context) -> Result:
    """Break things near the peak of each main trace."""
    loads = main_loads(context)
    cases = {
        (load.name, fault, system): simulation(load, system, faults=faults)
        for load in loads
        for fault, faults in faults_at(load.peak_s).items()
        for system in SYSTEMS
    }
    runs = repeat(context, cases)
    tables: list[Table] = []
    figures: list[Figure] = []
    data, answers = {}, []
    for load in loads:
        chosen = {(fault, s): r for (name, fault, s), r in runs.items() if name == load.name}
        tables += [
            labelled_table(f"On {load.title}", ("fault", "system"), chosen, NOTE),
            _lost_table(load, chosen),
        ]
        killed = {s: chosen[KILLED, s] for s in SYSTEMS}
        shaded = (load.peak_s, load.peak_s + 30.0)
        figures.append(
            time_series(f"killed-{load.name}", f"{KILLED}: {load.title}", killed, shaded=shaded)
        )
        data[load.name] = {
            fault: summaries({s: chosen[fault, s] for s in SYSTEMS})
            for fault in faults_at(load.peak_s)
        }
        answers.append(_answer(load, chosen))
    return Result(
        name=NAME,
        title=TITLE,
        question="What does a fault at the worst moment cost: a fifth or a quarter of the workers "
        "killed, slow devices, lost telemetry, late plans?",
        answer="Faults cost `diffserve` quality." + bullets(answers),
        inputs=inputs(
            loads,
            "Ours: the faults. A router notices a dead worker after 0.2 s, a controller after 5 s; "
            "which workers are struck is the same for every system.",
        ),
        tables=tables,
        figures=figures,
        data=data,
    )


def _answer(load: Load, runs: Mapping[tuple[str, str], Runs]) -> str:
    ours = [r for (_, system), r in runs.items() if system == "diffserve"]
    worst = max(r.spread("slo_violation_ratio").high for r in ours)
    lost = sum(_lost(r).high for r in ours)
    killed = runs[KILLED, "diffserve"].spread("slo_violation_ratio")
    return (
        f"On {load.title}, with a quarter of the workers killed at the peak `diffserve` has "
        f"{killed.percent()} % violations; over all these faults and seeds at most "
        f"{100.0 * worst:.2f} %, and {lost:.0f} queries lost."
    )


def _lost(runs: Runs) -> Spread:
    return Spread.of([float(metrics["outcomes"]["failed"]) for metrics in runs.metrics])


def _lost_table(load: Load, runs: Mapping[tuple[str, str], Runs]) -> Table:
    rows = [
        (
            fault,
            system,
            *(
                Spread.of([float(m["outcomes"][outcome]) for m in r.metrics]).text(".0f")
                for outcome in ("light", "light_fallback", "heavy", "expired", "failed")
            ),
        )
        for (fault, system), r in runs.items()
    ]
    return Table(
        f"How the queries ended: {load.title}",
        ("fault", "system", "light", "light fallback", "heavy", "expired", "failed"),
        rows,
        "Every query has exactly one outcome; a simulation in which one has none or two stops with "
        "an error. Expired: no answer by the deadline, or dropped. Failed: lost with its workers. "
        "The published system drops what a dead worker held, which counts as expired here.",
    )
