"""Short simulations for tests."""

from __future__ import annotations

import io
from typing import Any

from diffserve.catalog import load_catalog
from diffserve.sim.faults import Faults
from diffserve.sim.hardware import HardwareParameters
from diffserve.sim.run import Simulation, simulate
from diffserve.sim.workload import WorkloadParameters

CATALOG = load_catalog("paper-sdturbo")


def simulation(
    policy: str = "diffserve",
    *,
    trace: str = "azure",
    peak_qps: float | None = 16.0,
    duration_s: float = 60.0,
    cv: float | None = None,
    num_workers: int = 8,
    seed: int = 0,
    faults: Faults | None = None,
    hardware: HardwareParameters | None = None,
    slo_s: float | None = None,
    cascade: str = "paper-sdturbo",
) -> Simulation:
    return Simulation(
        catalog=CATALOG if cascade == "paper-sdturbo" else load_catalog(cascade),
        workload=WorkloadParameters(trace=trace, peak_qps=peak_qps, cv=cv, duration_s=duration_s),
        policy=policy,
        num_workers=num_workers,
        slo_s=slo_s,
        seed=seed,
        faults=faults or Faults(),
        hardware=hardware or HardwareParameters(),
    )


def logged(run: Simulation) -> tuple[str, dict[str, Any]]:
    """Return the decision log and the metrics of a run."""
    stream = io.StringIO()
    metrics = simulate(run, log=stream)
    return stream.getvalue(), metrics
