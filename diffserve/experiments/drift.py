"""Drift: the discriminator's confidences shift while the system serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffserve.experiments.comparison import bullets
from diffserve.experiments.experiment import Context, Result, Table
from diffserve.experiments.loads import Load, inputs, main_loads, simulation
from diffserve.experiments.spread import Runs, Spread, repeat
from diffserve.sim.faults import Faults

NAME = "drift"
TITLE = "Drift of confidences"
SYSTEM = "diffserve"
STILL = "nothing"
SHIFTS: Mapping[str, Mapping[str, float]] = {
    STILL: {},
    "all a little surer (logit + 1)": {"offset": 1.0},
    "all less sure (logit - 1)": {"offset": -1.0},
    "half as decided (temperature 2)": {"temperature": 2.0},
    "twice as decided (temperature 0.5)": {"temperature": 0.5},
}


def faults_at(at_s: float) -> Mapping[str, Faults]:
    """Return what shifts, and stays so, from an instant on."""
    return {
        name: Faults.model_validate(
            {"confidence_shift": [{"at_s": at_s, **shift}]} if shift else {}
        )
        for name, shift in SHIFTS.items()
    }


def run(context: Context) -> Result:
    """Shift confidences half-way up to the peak of each main trace."""
    loads = main_loads(context)
    cases = {
        (load.name, name): simulation(load, SYSTEM, faults=faults)
        for load in loads
        for name, faults in faults_at(load.peak_s / 2.0).items()
    }
    runs = repeat(context, cases)
    tables, answers, data = [], [], {}
    for load in loads:
        chosen = {name: runs[load.name, name] for name in SHIFTS}
        tables.append(_table(load, chosen))
        answers.append(_answer(load, chosen))
        data[load.name] = {name: _document(r) for name, r in chosen.items()}
    return Result(
        name=NAME,
        title=TITLE,
        question="What happens when the discriminator scores differently from when the cascade "
        "was measured: is the share deferred held, and does anybody notice?",
        answer="Deferral by rank holds the share that an absolute threshold would lose."
        + bullets(answers),
        inputs=inputs(
            loads,
            "Ours: the shifts of the confidences' logits. They keep the order of the images, so "
            "that a rank means the same; whether the quality curve still holds no simulation can "
            "tell, which is why there is an alarm.",
        ),
        tables=tables,
        figures=[],
        data=data,
    )


def _of(runs: Runs, name: str) -> Spread:
    """Return a figure of the ``drift`` part of the metrics, of the seeds that have it."""
    return Spread.of(
        [float(m["drift"][name]) for m in runs.metrics if m["drift"][name] is not None]
    )


def _table(load: Load, runs: Mapping[str, Runs]) -> Table:
    rows = [
        (
            name,
            _of(r, "deferral_error_before").percent(".1f"),
            _of(r, "deferral_error_after").percent(".1f"),
            _of(r, "static_deferral_error_before").percent(".1f"),
            _of(r, "static_deferral_error_after").percent(".1f"),
            _of(r, "alarms").text(".0f"),
            _of(r, "images_to_alarm").text(".0f"),
            r.spread("quality_windowed").text(),
            r.spread("slo_violation_ratio").percent(),
        )
        for name, r in runs.items()
    ]
    return Table(
        f"Confidences that shift on {load.title}",
        (
            "shift",
            "error before",
            "after",
            "static before",
            "static after",
            "alarms",
            "images to alarm",
            "windowed FID",
            "violations",
        ),
        rows,
        "Error: by how many per cent of the images the share deferred is off at the worst of the "
        "shares 10, 20, ..., 90 %, by rank among recent confidences and by the catalog's (static) "
        "absolute threshold; after: all images since the shift, those before the alarm included. "
        "Windowed FID is by the catalog's table, which knows nothing of the drift; violations in "
        "per cent. Median (range) over the seeds.",
    )


def _answer(load: Load, runs: Mapping[str, Runs]) -> str:
    drifted = [r for name, r in runs.items() if name != STILL]
    ours = max(_of(r, "deferral_error_after").high for r in drifted)
    static = min(_of(r, "static_deferral_error_after").low for r in drifted)
    images = max(_of(r, "images_to_alarm").high for r in drifted)
    return (
        f"On {load.title}: after any of the shifts the share deferred by rank is off by at most "
        f"{100.0 * ours:.1f} %, that of a static threshold by at least {100.0 * static:.1f} %; the "
        f"alarm came after at most {images:.0f} images, and without a shift "
        f"{_of(runs[STILL], 'alarms').high:.0f} times."
    )


def _document(runs: Runs) -> dict[str, Any]:
    return {"summary": runs.summary(), "drift": [metrics["drift"] for metrics in runs.metrics]}
