"""The formats, one reader each: which columns they have, and what an arrival is in them.

What was checked, and against what, when these were written (2026):

``plain``
    Ours: ``arrival_ms,prompt_id``, offsets from the start of the trace; with a header the columns
    may be in either order. The traces of the DiffServe and HADIS artifacts are files of this kind,
    without one.
``gentd26``
    Alibaba clusterdata, ``cluster-trace-v2026-GenAI/lora_request_trace.csv``: checked against the
    README of the trace and the file's own header and first rows.
``diffusiondb``
    ``metadata.parquet`` of DiffusionDB, or a CSV export of it with at least its ``timestamp``
    column: checked against the schema and the sample rows in its README.
``azure-functions-2019``
    ``invocations_per_function_md.anon.d*.csv``: checked against its README, not against a file.
``azure-functions-2021``
    ``AzureFunctionsInvocationTraceForTwoWeeksJan2021``: checked against the schema and the sample
    rows in its README, not against a file.
``azure-lmm-2025``
    ``AzureLMMInferenceTrace_multimodal.csv``: checked against its README and the rows that the
    authors' notebook prints. Their text-only traces of 2023 and 2024 have the same columns but for
    the number of images, and are read too.
``decisions``
    The decision log of a live load balancer (``loadbalancer.decision_log``) or of a simulation: its
    ``arrive`` lines.
``katz``
    ``diffusion_model_request_trace.json`` of Katz (SwiftDiffusion): the field names and that it is
    one JSON array were checked against its README and scripts. How it writes the time is in
    neither: ISO 8601, seconds and milliseconds since 1970 are all accepted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffserve.errors import ConfigError
from diffserve.sim.shapes import STEP_S, RateCurve
from diffserve.sim.traces.contents import Contents, Instants
from diffserve.sim.traces.rows import Row, header_of, opened, rows_of

MINUTE_S = 60.0
_MINUTES = 1440
PLAIN_COLUMNS = ("arrival_ms", "prompt_id")
_ABSENT = ("", "None", "NaT", "nan")


@dataclass(frozen=True, slots=True)
class TraceFormat:
    """A format.

    Attributes:
        about: One line for people.
        columns: A header with all of these says that a file is of this format.
        read: Reads a file.
        time: Which column says when; empty where none does.
        suffix: So does this end of its name, and then there is no header.
    """

    about: str
    columns: tuple[str, ...]
    read: Callable[[str], Contents]
    time: str
    suffix: str = ""


def read_plain(path: str) -> Instants:
    """Read ``arrival_ms,prompt_id`` rows; a first line without a number is a header."""
    first = header_of(path)
    has_header = bool(first) and not any(_is_number(field) for field in first)
    if has_header:
        _check_plain_header(path, first)
    timed, prompts = [], []
    for row in rows_of(path, () if has_header else PLAIN_COLUMNS):
        timed.append((row.number, row.number_of("arrival_ms") / 1000.0))
        prompts.append(row.whole_of("prompt_id"))
    return Instants.of(timed, prompts)


def _check_plain_header(path: str, header: Sequence[str]) -> None:
    """Refuse what is not a plain trace, which everything is taken for that looks like no other."""
    expected = f"expected {','.join(PLAIN_COLUMNS)}"
    for column in header:
        if column not in PLAIN_COLUMNS:
            raise ConfigError(f"{path}:1: unknown column {column!r}; {expected}")
    if len(header) > len(PLAIN_COLUMNS):
        raise ConfigError(f"{path}:1: {len(header)} columns; {expected}")
    for column in PLAIN_COLUMNS:
        if column not in header:
            raise ConfigError(f"{path}:1: no column {column}; {expected}")


def read_gentd26(path: str) -> Instants:
    """Read the creation times of text-to-image requests; images per request are not looked at."""
    return Instants.of(
        (
            (row.number, row.instant_s("gmt_create"))
            for row in rows_of(path)
            if row.text("predict_type") == "TXT_2_IMG"
        ),
        resolution_s=1.0,
    )


def read_diffusiondb(path: str) -> Instants:
    """Read the times of images; those deleted before they were collected have none.

    Times are whole minutes.
    """
    if Path(path).suffix == ".parquet":
        timed = enumerate(_parquet_timestamps_s(path), start=1)
        return Instants.of(timed, resolution_s=MINUTE_S)
    column = "timestamp"
    rows = (row for row in rows_of(path) if row.text(column) not in _ABSENT)
    return Instants.of(((row.number, row.instant_s(column)) for row in rows), resolution_s=MINUTE_S)


def _parquet_timestamps_s(path: str) -> list[float]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ConfigError(
            f"{path}: reading parquet needs pyarrow, which is not installed: "
            "`pip install pyarrow`, or export the column `timestamp` to CSV"
        ) from None
    column = parquet.read_table(path, columns=["timestamp"])["timestamp"]
    return [moment.timestamp() for moment in column.to_pylist() if moment is not None]


def read_azure_functions_2019(path: str) -> RateCurve:
    """Add up the invocations of all functions, minute by minute of one day."""
    counts = np.zeros(_MINUTES)
    for row in rows_of(path):
        counts += [row.number_of(str(minute)) for minute in range(1, _MINUTES + 1)]
    return RateCurve(np.repeat(counts / MINUTE_S, round(MINUTE_S / STEP_S)))


def read_azure_functions_2021(path: str) -> Instants:
    """Read when invocations began: their end less their duration, both in seconds."""
    begins = []
    for row in rows_of(path):
        begin_s = row.number_of("end_timestamp") - row.number_of("duration")
        begins.append((row.number, begin_s))
    return Instants.of(begins)


def read_azure_lmm_2025(path: str) -> Instants:
    """Read when requests were made; how many images and tokens they had is not looked at."""
    return Instants.of((row.number, row.instant_s("TIMESTAMP")) for row in rows_of(path))


def read_katz(path: str) -> Instants:
    """Read the array of requests of both services."""
    with opened(path) as file:
        try:
            entries = json.load(file)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path}:{error.lineno}: {error.msg}") from None
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: expected one JSON array of requests")
    timed = []
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict) or "timestamp" not in entry:
            raise ConfigError(f"{path}: entry {number}: timestamp: there is none")
        timed.append((number, Row(path, number, entry).instant_s("timestamp")))
    return Instants.of(timed)


def read_decisions(path: str) -> Instants:
    """Read when queries arrived; their prompts are not in a decision log."""
    timed = []
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            time_s, _, rest = line.partition(" ")
            if rest.startswith("arrive "):
                timed.append((number, Row(path, number, {"time": time_s}).number_of("time")))
    return Instants.of(timed)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


FORMATS: Mapping[str, TraceFormat] = {
    "plain": TraceFormat("arrival_ms,prompt_id", (), read_plain, "arrival_ms"),
    "gentd26": TraceFormat(
        "Alibaba GenTD26 requests", ("gmt_create", "predict_type"), read_gentd26, "gmt_create"
    ),
    "azure-functions-2021": TraceFormat(
        "Azure Functions 2021, per invocation",
        ("app", "func", "end_timestamp", "duration"),
        read_azure_functions_2021,
        "end_timestamp",
    ),
    "azure-functions-2019": TraceFormat(
        "Azure Functions 2019, per minute",
        ("HashOwner", "HashApp", "HashFunction", "Trigger", "1", "1440"),
        read_azure_functions_2019,
        "",
    ),
    "azure-lmm-2025": TraceFormat(
        "Azure multimodal (and language model) requests",
        ("TIMESTAMP", "ContextTokens", "GeneratedTokens"),
        read_azure_lmm_2025,
        "TIMESTAMP",
    ),
    "diffusiondb": TraceFormat(
        "DiffusionDB metadata, CSV or parquet",
        ("timestamp",),
        read_diffusiondb,
        "timestamp",
        ".parquet",
    ),
    "decisions": TraceFormat("a decision log of ours", (), read_decisions, "time", ".decisions"),
    "katz": TraceFormat("Katz (SwiftDiffusion) requests", (), read_katz, "timestamp", ".json"),
}
"""Formats by name, those with the most telling columns first."""
