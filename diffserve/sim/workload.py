"""Arrivals: replayed from a trace file, or drawn from a shape and a distribution of gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from diffserve.sim.shapes import SHAPES, STEP_S, RateCurve
from diffserve.sim.traces.contents import NUM_PROMPTS, Instants
from diffserve.sim.traces.reading import AUTO, read_trace

DEFAULT_CV = {"gamma": 3.0}
"""Coefficient of variation of the gaps, by trace; 1 (Poisson) for the others."""
DEFAULT_PEAK_QPS = 32.0
TRACE_SMOOTHING_S = 10.0
"""Arrivals drawn on the curve of a trace follow its counts over this long."""
_CHUNK = 8192


class Arrival(NamedTuple):
    """One query of a workload: when, and which prompt."""

    arrival_s: float
    prompt_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadParameters:
    """What to serve.

    Attributes:
        trace: A name of ``SHAPES``, or a file: CSV of ``arrival_ms,prompt_id`` rows in any order,
            or one of the public formats of ``sim.traces.formats``.
        peak_qps: Peak rate; None keeps a file's own. A file with a new peak is drawn again.
        cv: Coefficient of variation of the gaps; None replays a file as it is. With a value,
            arrivals are drawn with Gamma gaps on the rate curve.
        duration_s: Of a shape; files have their own.
        trace_format: Of the file; ``auto`` finds out.
        speedup: The file is replayed this many times as fast: same queries, rate times this.
    """

    trace: str
    peak_qps: float | None = None
    cv: float | None = None
    duration_s: float = 350.0
    trace_format: str = AUTO
    speedup: float = 1.0


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
    contents = read_trace(parameters.trace, parameters.trace_format, parameters.speedup)
    if isinstance(contents, RateCurve):
        return _redrawn(contents, parameters, generator)
    contents = contents.spread(generator)
    curve = _counted(contents)
    if parameters.cv is not None or parameters.peak_qps is not None:
        return _redrawn(curve.smoothed(TRACE_SMOOTHING_S), parameters, generator)
    times, prompts = contents.times_s, contents.prompt_ids
    arrivals = (Arrival(float(t), int(p)) for t, p in zip(times, prompts, strict=True))
    return Workload(arrivals, len(curve.qps) * STEP_S, _peak(curve))


def _redrawn(
    curve: RateCurve, parameters: WorkloadParameters, generator: np.random.Generator
) -> Workload:
    """Draw arrivals on the curve of a file, scaled if asked."""
    curve = curve.scaled_to(parameters.peak_qps) if parameters.peak_qps else curve
    return _drawn(curve, parameters.cv or 1.0, generator)


def _counted(trace: Instants) -> RateCurve:
    steps = (trace.times_s / STEP_S).astype(int)
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
        prompts = generator.integers(0, NUM_PROMPTS, _CHUNK)
        marks = elapsed + np.concatenate(([0.0], np.cumsum(gaps)))
        elapsed = float(marks[-1])
        inside = marks[:-1][marks[:-1] < cumulative[-1]]
        times = np.interp(inside, cumulative, instants)
        yield from map(Arrival, times.tolist(), prompts.tolist())
