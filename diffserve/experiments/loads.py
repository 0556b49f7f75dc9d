"""The loads that experiments serve, and whose they are."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffserve.catalog import Catalog, load_catalog
from diffserve.errors import ConfigError
from diffserve.experiments.experiment import Context
from diffserve.sim.run import Simulation
from diffserve.sim.workload import WorkloadParameters

NUM_WORKERS = 16
PEAK_QPS = 32.0
DURATION_S = 350.0
AUTHORS_MAIN = "trace_dynamic_4to32qps.txt"
AUTHORS_OVERLOAD = "trace_dynamic_3to40qps.txt"
AUTHORS_LARGE = "trace_dynamic_large_255qps_mean.txt"

AUTHORS_TABLES = (
    "The paper's authors' (public artifact of DiffServe): latency by batch size on an A100-80GB, "
    "the deferral profile f(t), and FID by the share of heavy answers (5,000 MS-COCO captions). "
    "FID on these pages is read off that table at the simulated share of heavy answers, linearly "
    "between its points; no image was generated and no FID measured."
)
OURS = (
    "Ours: the simulator and everything in it, among that the re-implementations of all baselines "
    "from the paper and its artifact, and the behaviour of the machines around the profile (2 % "
    "variation of execution times, 20 ms scoring, 1 ms network, 50 ms from telemetry to plan)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What arrives.

    Attributes:
        name: Short, for files.
        title: For people.
        workload: How to make it.
        whose: Sentence for the list of inputs.
        peak_s: When the load is highest.
    """

    name: str
    title: str
    workload: WorkloadParameters
    whose: str
    peak_s: float


def own(peak_qps: float = PEAK_QPS) -> Load:
    """Return our Azure-shaped trace."""
    return Load(
        name="own",
        title=f"our Azure-shaped trace, peak {peak_qps:g} qps",
        workload=WorkloadParameters(trace="azure", peak_qps=peak_qps, duration_s=DURATION_S),
        whose=f"Ours: the trace, generated anew for each seed (`azure`, {DURATION_S:g} s, peak "
        f"{peak_qps:g} qps, Poisson gaps), in the manner of the public Azure Functions traces.",
        peak_s=0.64 * DURATION_S,
    )


def authors(context: Context, file: str, title: str) -> list[Load]:
    """Return a trace of the authors, if their files are at hand: a list of one or none.

    Raises:
        ConfigError: there is a folder, but the trace is not in it.
    """
    if context.data is None:
        return []
    path = context.data / file
    if not path.is_file():
        raise ConfigError(f"--data: {context.data} has no {file}")
    load = Load(
        name="authors",
        title=title,
        workload=WorkloadParameters(trace=str(path)),
        whose=f"The paper's authors': the trace `{file}` of their artifact, the same for each "
        "seed; it does not come with this project.",
        peak_s=210.0,
    )
    return [load]


def main_loads(context: Context) -> list[Load]:
    """Return the main trace: ours, and the authors' where their files are at hand."""
    return [own(), *authors(context, AUTHORS_MAIN, "the authors' 4-32 qps trace")]


def inputs(loads: list[Load], *more: str) -> tuple[str, ...]:
    """Return the list of inputs of a page."""
    return (*(load.whose for load in loads), AUTHORS_TABLES, OURS, *more)


@functools.cache
def catalog(name: str) -> Catalog:
    """Return a shipped catalog."""
    return load_catalog(name)


def simulation(
    load: Load | WorkloadParameters,
    policy: str,
    *,
    cascade: str = "paper-sdturbo",
    num_workers: int = NUM_WORKERS,
    **more: Any,
) -> Simulation:
    """Return a run, with seed 0; ``more`` are further fields of ``Simulation``."""
    return Simulation(
        catalog=catalog(cascade),
        workload=load.workload if isinstance(load, Load) else load,
        policy=policy,
        num_workers=num_workers,
        **more,
    )


def data_folder(path: str) -> Path | None:
    """Return the folder of ``--data``, None for an empty text.

    Raises:
        ConfigError: it is not there.
    """
    if not path:
        return None
    if not Path(path).is_dir():
        raise ConfigError(f"--data: {path} is not a folder")
    return Path(path)
