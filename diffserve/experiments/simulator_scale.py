"""How fast the simulator is, and how much memory it takes: up to 10,000 workers."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffserve.errors import BackendError
from diffserve.experiments.comparison import bullets
from diffserve.experiments.experiment import Context, Result, Table
from diffserve.experiments.loads import AUTHORS_LARGE, AUTHORS_TABLES, OURS, authors
from diffserve.experiments.runner import code_digest, load_metrics, store_metrics

NAME = "simulator_scale"
TITLE = "Speed and memory of the simulator"
_ORIGIN = (
    "Time and memory on this page were **measured** on the simulator itself; the systems in "
    "it, their violations and their FID are **simulated**: nothing was served on a device."
)
LARGE_PEAK_QPS = 487.0
"""Peak at which our shape has about as many queries in 350 s as the authors' large trace."""
LARGE_WORKERS = 210
HUGE_WORKERS = 10_000
HUGE_PEAK_QPS = 20_000.0


@dataclass(frozen=True, slots=True)
class Case:
    """One run in a process of its own.

    Attributes:
        title: For people.
        arguments: Of ``diffserve simulate``.
    """

    title: str
    arguments: tuple[str, ...]


def cases(context: Context) -> Sequence[Case]:
    """Return what to run; the large ones only in full mode."""
    large = ("--workers", str(LARGE_WORKERS))
    found = [
        Case(
            f"our Azure-shaped trace, peak {LARGE_PEAK_QPS:g} qps",
            (*large, "--peak-qps", f"{LARGE_PEAK_QPS:g}"),
        )
    ]
    found += [
        Case(load.title, (*large, "--trace", load.workload.trace))
        for load in authors(context, AUTHORS_LARGE, "the authors' large trace, mean 255 qps")
    ]
    huge = ("--workers", str(HUGE_WORKERS), "--peak-qps", f"{HUGE_PEAK_QPS:g}")
    for duration_s in () if context.quick else (30, 290):
        title = f"our Azure-shaped trace, peak {HUGE_PEAK_QPS:g} qps, {duration_s} s"
        found.append(Case(title, (*huge, "--duration", str(duration_s))))
    return found


def run(context: Context) -> Result:
    """Run each case alone, so that nothing else of ours takes its time or adds to its memory."""
    chosen, results = cases(context), []
    for done, case in enumerate(chosen):
        context.on_progress(done, len(chosen))
        results.append(_measured(case, context.cache))
    return Result(
        name=NAME,
        title=TITLE,
        question="How long does the simulator take, and how much memory, for loads of the size of "
        "the paper's largest trace and far beyond? Policy `diffserve`, cascade 1, seed 0.",
        answer="Memory follows the queries in flight and the workers, not the queries seen"
        + ("." if context.quick else ": compare the last two rows.")
        + bullets(
            f"{case.title[0].upper()}{case.title[1:]}: {metrics['queries']:,} queries on "
            f"{metrics['workers']:,} workers in {metrics['cpu_s']:.0f} s of one core, "
            f"{metrics['wall_s']:.0f} s by the clock, {metrics['peak_bytes'] / 1e6:.0f} MB at most."
            for case, metrics in zip(chosen, results, strict=True)
        ),
        inputs=(
            *(load.whose for load in authors(context, AUTHORS_LARGE, "the authors' large trace")),
            AUTHORS_TABLES,
            OURS,
            f"Measured: time and largest memory of the simulating process, on {_machine()}.",
        ),
        tables=[_table(chosen, results)],
        figures=[],
        data={case.title: metrics for case, metrics in zip(chosen, results, strict=True)},
        is_simulated=False,
        origin=_ORIGIN,
    )


def _table(chosen: Sequence[Case], results: Sequence[dict[str, Any]]) -> Table:
    rows = [
        (
            case.title,
            f"{metrics['workers']:,}",
            f"{metrics['queries']:,}",
            f"{metrics['cpu_s']:.1f}",
            f"{metrics['wall_s']:.1f}",
            f"{metrics['load_average']:.1f}",
            f"{metrics['queries'] / metrics['cpu_s']:,.0f}",
            f"{metrics['peak_bytes'] / 1e6:.0f}",
            f"{100 * metrics['slo_violation_ratio']:.3f}",
            f"{metrics['quality_windowed']:.2f}",
        )
        for case, metrics in zip(chosen, results, strict=True)
    ]
    return Table(
        "Runs, one process each",
        (
            "load",
            "workers",
            "queries",
            "CPU, s",
            "clock, s",
            "load average",
            "queries per CPU second",
            "peak memory, MB",
            "violations, %",
            "FID, windowed",
        ),
        rows,
        "CPU: of the process, the start of Python and its libraries included. Clock: the "
        "simulation alone; it depends on what else runs, of which the load average tells: "
        "processes that wanted a core when the run began, over one minute. Memory: largest "
        "resident size of the process.",
    )


def _measured(case: Case, cache: Path) -> dict[str, Any]:
    """Return the metrics of a case with ``peak_bytes``; from the cache if it ran on this code."""
    text = "\0".join(("2", code_digest(), *case.arguments))
    key = f"scale-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
    known = load_metrics(cache, key)
    if known is None:
        known = _run_alone(case.arguments)
        store_metrics(cache, key, known)
    return known


def _run_alone(arguments: Sequence[str]) -> dict[str, Any]:
    load_average = os.getloadavg()[0]
    command = [sys.executable, "-m", "diffserve.cli.main", "simulate", "--json", *arguments]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output)
        # The usage of this very child; the one of all children would mix them.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise BackendError(f"a simulation of its own process ended with {process.returncode}")
        output.seek(0)
        metrics: dict[str, Any] = json.load(output)
    kept = ("workers", "queries", "wall_s", "slo_violation_ratio", "rejected_ratio")
    quality = ("heavy_share", "quality_windowed", "bound_quality_windowed", "device_busy")
    return {name: metrics[name] for name in (*kept, *quality)} | {
        "peak_bytes": float(metrics["peak_memory_bytes"]),
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "load_average": load_average,
    }


def _machine() -> str:
    """Return the processor and how many there are."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"
