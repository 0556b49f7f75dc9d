"""Reads a trace file in whichever format it is."""

from __future__ import annotations

import csv
import zlib
from pathlib import Path

import numpy as np

from diffserve.errors import ConfigError
from diffserve.sim.shapes import SHAPES, STEP_S
from diffserve.sim.traces.contents import Contents, Instants
from diffserve.sim.traces.formats import FORMATS, TraceFormat
from diffserve.sim.traces.rows import header_of

AUTO = "auto"
SPAN_MAX_S = 30 * 86400.0
SPAN = f"{SPAN_MAX_S / 86400.0:g} days"
"""Longest that a trace may last, as it is served."""
OFFSET_MAX_S = 86400.0
"""Times of a plain file that begin later do not count from its start: nobody waits for a day."""


def read_trace(path: str, trace_format: str = AUTO, speedup: float = 1.0) -> Contents:
    """Return what a trace file holds.

    Times count from the first arrival; those of a plain file as they are, unless they begin so
    late that they count from some epoch.

    Args:
        path: File; one that ends in ``.gz`` is unpacked.
        trace_format: A name of ``FORMATS``, or ``auto``: by the file's suffix, then by its header.
        speedup: Times are divided by this.

    Raises:
        ConfigError: the file cannot be read, is empty, lasts too long, or is wrong; names the line
            and the field.
    """
    if trace_format not in (AUTO, *FORMATS):
        known = ", ".join((AUTO, *FORMATS))
        raise ConfigError(f"trace format: {trace_format!r} is not one of {known}")
    try:
        name = detected(path) if trace_format == AUTO else trace_format
        _check_columns(path, FORMATS[name])
        contents = FORMATS[name].read(path)
    except (UnicodeDecodeError, EOFError, zlib.error, csv.Error) as error:
        raise ConfigError(f"{path}: not a readable text file: {error}") from None
    except OSError as error:
        known = ", ".join(SHAPES)
        problem = error.strerror or error
        raise ConfigError(f"trace: cannot read {path}: {problem}; shapes: {known}") from None
    if not isinstance(contents, Instants):
        if contents.peak_qps <= 0.0:
            raise ConfigError(f"{path}: no arrivals")
        if len(contents.qps) * STEP_S > SPAN_MAX_S * speedup:
            raise ConfigError(f"{path}: lasts more than {SPAN} at this speedup")
        return contents if speedup == 1.0 else contents.faster(speedup)
    if not len(contents.times_s):
        raise ConfigError(f"{path}: no arrivals")
    _check_span(path, FORMATS[name], contents, speedup)
    if name != "plain" or contents.times_s[0] > OFFSET_MAX_S:
        contents = contents.from_zero()
    return contents if speedup == 1.0 else contents.faster(speedup)


def _check_span(path: str, known: TraceFormat, contents: Instants, speedup: float) -> None:
    """Refuse a trace that would last absurdly long; mostly a single time is wrong."""
    times = contents.times_s
    late = np.searchsorted(times, times[0] + SPAN_MAX_S * speedup, side="right")
    if late < len(times):
        first, place = contents.places[[0, late]]
        raise ConfigError(
            f"{path}:{place}: {known.time}: more than {SPAN} after the first arrival (line {first})"
            + (" at this speedup" if speedup != 1.0 else "; `simulate --speedup` replays it faster")
        )


def detected(path: str) -> str:
    """Return the format of a file; ``plain`` for what looks like none of the others."""
    suffix = _suffix(path)
    for name, known in FORMATS.items():
        if suffix and suffix == known.suffix:
            return name
    header = header_of(path)
    for name, known in FORMATS.items():
        if known.columns and all(column in header for column in known.columns):
            return name
    return "plain"


def _suffix(path: str) -> str:
    return Path(path.removesuffix(".gz")).suffix


def _check_columns(path: str, known: TraceFormat) -> None:
    """Say which columns a file lacks that was named to be of a format."""
    if not known.columns or (known.suffix and _suffix(path) == known.suffix):
        return
    header = header_of(path)
    missing = [column for column in known.columns if column not in header]
    if missing:
        raise ConfigError(f"{path}:1: no column {', '.join(missing)}; expected {known.about}")
