"""``diffserve simulate``: how a serving system would fare on a trace, without any device."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from diffserve.catalog import Catalog, load_catalog
from diffserve.cli.output import CliError, duration, emit_json, percent, stderr, stdout, table
from diffserve.cli.writing import cannot_write
from diffserve.errors import ConfigError
from diffserve.sim.faults import Faults, read_faults
from diffserve.sim.policies import POLICIES
from diffserve.sim.run import Simulation, simulate
from diffserve.sim.shapes import SHAPES
from diffserve.sim.workload import WorkloadParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The command line of one run."""

    trace: str
    trace_format: str
    speedup: float
    cascade: str
    policies: tuple[str, ...]
    num_workers: int
    devices: str
    slo_s: float | None
    peak_qps: float | None
    cv: float | None
    duration_s: float
    seed: int
    faults: str
    log: str
    num_loadbalancers: int = 1


def run_simulate(request: Request, *, as_json: bool) -> None:
    """Simulate one or several policies on the same arrivals and print what they come to."""
    if as_json and len(request.policies) > 1:
        raise CliError("--json takes one --policy", exit_code=2)
    _check(request)
    results = [_simulate(request, policy) for policy in request.policies]
    if as_json:
        emit_json(results[0] | {"peak_memory_bytes": _peak_memory_bytes()})
    else:
        _show(results)


def _peak_memory_bytes() -> int:
    """Return the largest memory of this process so far.

    ``ru_maxrss`` counts what the parent held when it started this one, so Linux is asked otherwise.
    """
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _check(request: Request) -> None:
    """Find mistakes before the first of several long runs."""
    for policy in request.policies:
        if policy not in POLICIES:
            raise ConfigError(f"policy: {policy!r} is not one of {', '.join(POLICIES)}")
    if request.speedup != 1.0 and request.trace in SHAPES:
        raise CliError(
            f"--speedup: {request.trace} is generated, not replayed; --peak-qps and --duration say "
            "how fast it is",
            exit_code=2,
        )


def parse_devices(text: str, catalog: Catalog) -> tuple[tuple[str, int], ...]:
    """Return how many devices there are of each type; none for an empty text.

    Raises:
        CliError: it is not ``TYPE=COUNT,...``, or the catalog knows no such type.
    """
    known = sorted({t for types in catalog.latency_by_device.values() for t in types})
    devices = []
    for part in filter(None, text.split(",")):
        name, _, count = (piece.strip() for piece in part.rpartition("="))
        if not name or not count.isdecimal() or int(count) == 0:
            raise CliError(f"--devices: {part!r} is not TYPE=COUNT", exit_code=2)
        if name not in known:
            there = f"it knows {', '.join(known)}" if known else "it knows none"
            raise CliError(
                f"--devices: catalog {catalog.name} has no profiles for {name!r}; {there}",
                exit_code=2,
            )
        devices.append((name, int(count)))
    return tuple(devices)


def _simulate(request: Request, policy: str) -> dict[str, Any]:
    workload = WorkloadParameters(
        trace=request.trace,
        trace_format=request.trace_format,
        speedup=request.speedup,
        peak_qps=request.peak_qps,
        cv=request.cv,
        duration_s=request.duration_s,
    )
    catalog = load_catalog(request.cascade)
    devices = parse_devices(request.devices, catalog)
    simulation = Simulation(
        catalog=catalog,
        workload=workload,
        policy=policy,
        num_workers=sum(count for _, count in devices) or request.num_workers,
        devices=devices,
        slo_s=request.slo_s,
        seed=request.seed,
        faults=read_faults(request.faults) if request.faults else Faults(),
        num_loadbalancers=request.num_loadbalancers,
    )
    with _opened(request.log) as log, progress(policy) as on_progress:
        return simulate(simulation, log=log, on_progress=on_progress)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[TextIO | None]:
    if not path:
        yield None
        return
    try:
        with Path(path).open("w", encoding="utf-8") as stream:
            yield stream
    except OSError as error:
        raise cannot_write("--log", path, error) from None


@contextlib.contextmanager
def progress(title: str) -> Iterator[Callable[[float, float], None]]:
    """Show a bar of virtual time on standard error, where that is a terminal."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    console = stderr()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as p:
        task = p.add_task(title, total=None)
        yield lambda now_s, total_s: p.update(task, completed=now_s, total=total_s)


def _show(results: list[dict[str, Any]]) -> None:
    first, console = results[0], stdout()
    better = "lower" if first["is_lower_better"] else "higher"
    console.print(
        f"{first['queries']} queries in {duration(first['simulated_s'])} on {first['workers']} "
        f"workers, cascade {first['cascade']}, SLO {duration(first['slo_s'])}, "
        f"seed {first['seed']}"
    )
    console.print(
        f"quality is {first['quality_metric']} by the cascade's table; {better} is better\n"
    )
    rows = table(
        "policy",
        *(">violations", ">rejected", ">heavy", ">quality", ">windowed", ">bound", ">busy"),
        *(">swaps", ">p50", ">p99", ">took"),
    )
    for metrics in results:
        rows.add_row(*_row(metrics))
    console.print(rows)


def _row(metrics: dict[str, Any]) -> tuple[str, ...]:
    bound = metrics["bound_quality_windowed"]
    return (
        metrics["policy"],
        f"{100.0 * metrics['slo_violation_ratio']:.2f} %",
        f"{100.0 * metrics['rejected_ratio']:.2f} %",
        percent(metrics["heavy_share"]),
        f"{metrics['quality_overall']:.3f}",
        f"{metrics['quality_windowed']:.3f}",
        "-" if bound is None else f"{bound:.3f}",
        percent(metrics["device_busy"]),
        str(metrics["swaps"]),
        duration(metrics["latency_s_p50"]),
        duration(metrics["latency_s_p99"]),
        duration(metrics["wall_s"]),
    )
