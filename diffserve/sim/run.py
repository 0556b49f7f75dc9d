"""One simulation from its inputs to its report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TextIO

import numpy as np

from diffserve.catalog import Catalog
from diffserve.config import DiscriminatorSettings, load_settings
from diffserve.core import Cascade, Outcome
from diffserve.sim.bound import fluid_bound
from diffserve.sim.cluster import Cluster, Environment
from diffserve.sim.decision_log import DecisionLog
from diffserve.sim.faults import Faults
from diffserve.sim.hardware import Device, HardwareParameters, ServiceTimes
from diffserve.sim.images import Confidences
from diffserve.sim.policies import make_system
from diffserve.sim.quality import WINDOW_S, QualityTable
from diffserve.sim.report import Recorder
from diffserve.sim.workload import Workload, WorkloadParameters, make_workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Everything that determines a run; equal values give equal decision logs.

    Attributes:
        catalog: Its default cascade is served.
        workload: What arrives.
        policy: A name of ``sim.policies.POLICIES``.
        num_workers: Devices, all alike.
        slo_s: Allowed duration; None keeps the cascade's.
        seed: Of everything drawn.
        faults: What breaks.
        hardware: How the machines behave.
    """

    catalog: Catalog
    workload: WorkloadParameters
    policy: str
    num_workers: int
    slo_s: float | None = None
    seed: int = 0
    faults: Faults = field(default_factory=Faults)
    hardware: HardwareParameters = field(default_factory=HardwareParameters)

    @property
    def cascade(self) -> Cascade:
        """The cascade that is served, with the SLO of this run."""
        cascade = self.catalog.cascades[self.catalog.default_cascade]
        return replace(cascade, slo_s=self.slo_s) if self.slo_s else cascade


def _ignore(now_s: float, total_s: float) -> None:
    """Show no progress."""


def simulate(
    simulation: Simulation,
    *,
    log: TextIO | None = None,
    on_progress: Callable[[float, float], None] = _ignore,
) -> dict[str, Any]:
    """Run a simulation; return its metrics as JSON values.

    Args:
        simulation: What to run.
        log: Where the decision log goes.
        on_progress: Called now and then with the virtual time and about how long the trace is.

    Raises:
        ConfigError: the trace or the policy is not known.
        InvariantError: a rule that every run must keep was broken.
    """
    began_s = time.perf_counter()
    streams = np.random.SeedSequence(simulation.seed).spawn(4)
    arriving, drawing, executing, routing = (np.random.default_rng(s) for s in streams)
    workload = make_workload(simulation.workload, arriving)
    catalog, cascade = simulation.catalog, simulation.cascade
    system = make_system(
        simulation.policy,
        catalog,
        cascade,
        num_workers=simulation.num_workers,
        peak_qps=workload.peak_qps,
        generator=routing,
    )
    environment = Environment(
        catalog=catalog,
        slo_s=cascade.slo_s,
        hardware=simulation.hardware,
        service_times=ServiceTimes(catalog.latency, simulation.hardware, executing),
        confidences=Confidences(
            catalog.deferral[cascade.cascade_id],
            load_settings(DiscriminatorSettings, environ={}).sketch_size,
            drawing,
            is_query_aware=system.is_query_aware,
        ),
        faults=simulation.faults,
        devices=_devices(simulation),
        log=DecisionLog(log) if log else None,
    )
    cluster = Cluster(environment, system)
    cluster.run(workload.arrivals, lambda now_s: on_progress(now_s, workload.duration_s))
    table = QualityTable(catalog.quality[cascade.cascade_id], system.is_query_aware)
    metrics = _metrics(simulation, cluster.recorder, workload, table)
    return metrics | {"wall_s": round(time.perf_counter() - began_s, 3)}


def _devices(simulation: Simulation) -> tuple[Device, ...]:
    """Return the machines, holding both variants as far as these fit."""
    limit = simulation.hardware.num_resident_max
    held = (simulation.cascade.heavy, simulation.cascade.light)[-limit:]
    return tuple(
        Device(worker_id=f"worker-{index:05d}", resident=held)
        for index in range(simulation.num_workers)
    )


def _metrics(
    simulation: Simulation, recorder: Recorder, workload: Workload, table: QualityTable
) -> dict[str, Any]:
    """Return the metrics, in the units and the sign of the quality table's own metric."""
    cascade, catalog = simulation.cascade, simulation.catalog
    total = max(1, recorder.num_queries)
    bound = fluid_bound(
        [window.arrivals for window in recorder.windows],
        WINDOW_S,
        simulation.num_workers,
        cascade.slo_s,
        catalog.latency[cascade.light],
        catalog.latency[cascade.heavy],
        table.curve,
    )
    aware = QualityTable(table.curve)
    capacity_s = simulation.num_workers * max(recorder.ended_s, 1e-9)
    outcomes = {outcome.value: recorder.outcomes[outcome] for outcome in Outcome}
    return {
        "policy": simulation.policy,
        "cascade": cascade.cascade_id,
        "trace": simulation.workload.trace,
        "workers": simulation.num_workers,
        "slo_s": cascade.slo_s,
        "seed": simulation.seed,
        "queries": recorder.num_queries,
        "slo_violation_ratio": recorder.num_violations / total,
        "rejected_ratio": recorder.outcomes[Outcome.REJECTED] / total,
        "heavy_share": recorder.heavy_share,
        "quality_metric": table.metric,
        "is_lower_better": table.is_lower_better,
        "quality_overall": table.reported(recorder.heavy_share),
        "quality_windowed": recorder.quality_windowed(table),
        "bound_quality_windowed": float(np.mean([aware.reported(s) for s in bound.heavy_shares]))
        if bound.heavy_shares
        else float("nan"),
        "device_busy": recorder.busy_s / capacity_s,
        "bound_device_busy": bound.device_busy,
        "swaps": recorder.num_swaps,
        "latency_s_p50": recorder.latency_s(0.5),
        "latency_s_p99": recorder.latency_s(0.99),
        "simulated_s": recorder.ended_s,
        "plans": recorder.num_plans,
        "fallback_plans": recorder.num_fallback_plans,
        "outcomes": outcomes,
        "trace_peak_qps": workload.peak_qps,
        "windows": recorder.series(),
    }
