"""Arrivals: replayed from a trace file, or drawn from a shape and a distribution of gaps."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from diffserve.errors import ConfigError
from diffserve.sim.shapes import SHAPES, STEP_S, RateCurve

DEFAULT_CV = {"gamma": 3.0}
"""Coefficient of variation of the gaps, by trace; 1 (Poisson) for the others."""
DEFAULT_PEAK_QPS = 32.0
TRACE_SMOOTHING_S = 10.0
"""Arrivals drawn on the curve of a trace follow its counts over this long."""
_NUM_PROMPTS = 5000
_CHUNK = 8192


class Arrival(NamedTuple):
    """One query of a workload: when, and which prompt."""

    arrival_s: float
    prompt_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadParameters:
    """What to serve.

    Attributes:
        trace: A name of ``SHAPES``, or a CSV file of ``arrival_ms,prompt_id`` rows in any order.
        peak_qps: Peak rate; None keeps a file's own. A file with a new peak is drawn again.
        cv: Coefficient of variation of the gaps; None replays a file as it is. With a value,
            arrivals are drawn with Gamma gaps on the rate curve.
        duration_s: Of a shape; files have their own.
    """

    trace: str
    peak_qps: float | None = None
    cv: float | None = None
    duration_s: float = 350.0


@dataclass(frozen=True, slots=True)
class Workload:
    """Arrivals in order, and what is known of them beforehand.

    Attributes:
        arrivals: One pass.
        duration_s: When the last step ends; for progress.
        peak_qps: Largest rate over ten seconds; for systems that are provisioned for the peak.
    """

    arrivals: Iterator[Arrival]
    duration_s: float
    peak_qps: float


def make_workload(parameters: WorkloadParameters, generator: np.random.Generator) -> Workload:
    """Return a workload; the same for the same parameters and generator state.

    Raises:
        ConfigError: there is no such trace, or a row of the file is wrong.
    """
    shape = SHAPES.get(parameters.trace)
    if shape is not None:
        curve = shape(parameters.duration_s).scaled_to(parameters.peak_qps or DEFAULT_PEAK_QPS)
        cv = parameters.cv or DEFAULT_CV.get(parameters.trace, 1.0)
        return _drawn(curve, cv, generator)
    trace = read_trace(parameters.trace)
    curve = _counted(trace)
    if parameters.cv is None and parameters.peak_qps is None:
        arrivals = (Arrival(float(t), int(p)) for t, p in zip(*trace, strict=True))
        return Workload(arrivals, len(curve.qps) * STEP_S, _peak(curve))
    curve = curve.smoothed(TRACE_SMOOTHING_S)
    curve = curve.scaled_to(parameters.peak_qps) if parameters.peak_qps else curve
    return _drawn(curve, parameters.cv or 1.0, generator)


def read_trace(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Read ``arrival_ms,prompt_id`` rows; return seconds and prompt ids, sorted by time.

    A first line that is not a number is taken for a header.

    Raises:
        ConfigError: the file cannot be read, is empty, or a row is wrong; names the line.
    """
    times, prompts = [], []
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if not row or (number == 1 and not _is_number(row[0])):
                    continue
                time_ms, prompt = _parse(path, number, row)
                times.append(time_ms / 1000.0)
                prompts.append(prompt)
    except OSError as error:
        known = ", ".join(SHAPES)
        raise ConfigError(f"trace: cannot read {path}: {error.strerror}; shapes: {known}") from None
    if not times:
        raise ConfigError(f"{path}: no arrivals")
    order = np.argsort(times, kind="stable")
    return np.array(times)[order], np.array(prompts)[order]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(path: str, number: int, row: list[str]) -> tuple[float, int]:
    try:
        time_ms, prompt = float(row[0]), int(float(row[1]))
    except (ValueError, IndexError):
        raise ConfigError(f"{path}:{number}: expected arrival_ms,prompt_id") from None
    if not 0.0 <= time_ms < float("inf"):
        raise ConfigError(f"{path}:{number}: arrival_ms must be 0 or more")
    return time_ms, prompt


def _counted(trace: tuple[np.ndarray, np.ndarray]) -> RateCurve:
    steps = (trace[0] / STEP_S).astype(int)
    return RateCurve(np.bincount(steps).astype(float) / STEP_S)


def _peak(curve: RateCurve) -> float:
    return curve.smoothed(TRACE_SMOOTHING_S).peak_qps


def _drawn(curve: RateCurve, cv: float, generator: np.random.Generator) -> Workload:
    arrivals = _renewals(curve, cv, generator)
    return Workload(arrivals, len(curve.qps) * STEP_S, _peak(curve))


def _renewals(curve: RateCurve, cv: float, generator: np.random.Generator) -> Iterator[Arrival]:
    """Yield a renewal process with Gamma gaps, its clock running at the curve's rate.

    Gaps are drawn in operational time, in which one query is expected per unit, and mapped to
    seconds by the inverse of the cumulative rate. CV 1 is a Poisson process.
    """
    cumulative = np.concatenate(([0.0], np.cumsum(curve.qps * STEP_S)))
    instants = np.arange(len(cumulative)) * STEP_S
    # Starting within a gap, not at its beginning: the first arrival is not special.
    elapsed = float(generator.gamma(cv**-2, cv**2)) * float(generator.random())
    while elapsed < cumulative[-1]:
        gaps = generator.gamma(cv**-2, cv**2, _CHUNK)
        prompts = generator.integers(0, _NUM_PROMPTS, _CHUNK)
        marks = elapsed + np.concatenate(([0.0], np.cumsum(gaps)))
        elapsed = float(marks[-1])
        inside = marks[:-1][marks[:-1] < cumulative[-1]]
        times = np.interp(inside, cumulative, instants)
        yield from map(Arrival, times.tolist(), prompts.tolist())
