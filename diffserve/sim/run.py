"""One simulation from its inputs to its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TextIO

import numpy as np

from diffserve.catalog import Catalog
from diffserve.core import Cascade
from diffserve.policy.decision_log import DecisionLog
from diffserve.sim.bound import MixedCascade, fluid_bound, mixture_bound
from diffserve.sim.cluster import Cluster, Environment
from diffserve.sim.faults import Faults
from diffserve.sim.hardware import Device, HardwareParameters, ServiceTimes
from diffserve.sim.images import Confidences, Difficulties
from diffserve.sim.ours import served_cascades
from diffserve.sim.policies import make_system
from diffserve.sim.quality import WINDOW_S, ClassTable, QualityTable
from diffserve.sim.report import Recorder
from diffserve.sim.settings import LiveSettings
from diffserve.sim.workload import Arrival, Workload, WorkloadParameters, make_workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Everything that determines a run; equal values give equal decision logs.

    Attributes:
        catalog: Its default cascade, or request class, is served.
        workload: What arrives.
        policy: A name of ``sim.policies.POLICIES``.
        num_workers: Devices.
        devices: How many there are of each type, in order; empty: all alike.
        slo_s: Allowed duration; None keeps the cascade's.
        seed: Of everything drawn.
        faults: What breaks.
        hardware: How the machines behave.
        settings: Of our services.
        time_compression: The workload passes this many times as fast, and the report's windows
            are as many times shorter; catalog and settings are compressed by who gives them.
        num_loadbalancers: How many of ours share the devices, clients taking turns with them.
        pins: ``cascade_id`` -> share deferred that an operator of ours fixed.
    """

    catalog: Catalog
    workload: WorkloadParameters
    policy: str
    num_workers: int
    slo_s: float | None = None
    seed: int = 0
    faults: Faults = field(default_factory=Faults)
    hardware: HardwareParameters = field(default_factory=HardwareParameters)
    settings: LiveSettings = field(default_factory=LiveSettings.load)
    time_compression: float = 1.0
    devices: tuple[tuple[str, int], ...] = ()
    num_loadbalancers: int = 1
    pins: Mapping[str, float] = field(default_factory=dict)

    @property
    def cascade(self) -> Cascade:
        """The cascade that is served, of a class the first one, with the SLO of this run."""
        name, catalog = self.catalog.default_cascade, self.catalog
        first = name if name in catalog.cascades else catalog.classes[name].cascade_ids[0]
        cascade = catalog.cascades[first]
        return replace(cascade, slo_s=self.slo_s) if self.slo_s else cascade

    @property
    def cascades(self) -> tuple[Cascade, ...]:
        """All that are served."""
        return served_cascades(self.catalog, self.cascade)


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
    _, drawing, executing, routing, ranking = _generators(simulation.seed)
    workload = workload_of(simulation)
    catalog, cascade = simulation.catalog, simulation.cascade
    system = make_system(
        simulation.policy,
        catalog,
        cascade,
        num_workers=simulation.num_workers,
        peak_qps=workload.peak_qps,
        generator=routing,
        settings=simulation.settings,
        num_loadbalancers=simulation.num_loadbalancers,
        pins=simulation.pins,
    )
    scorers = {
        c.cascade_id: Confidences(
            catalog.deferral[c.cascade_id],
            simulation.settings.discriminator.sketch_size,
            drawing,
            is_query_aware=system.is_query_aware,
            shifts=simulation.faults.confidence_shift,
        )
        for c in simulation.cascades
    }
    environment = Environment(
        catalog=catalog,
        slo_s=cascade.slo_s,
        hardware=simulation.hardware,
        service_times=ServiceTimes(
            catalog.latency, simulation.hardware, executing, catalog.latency_by_device
        ),
        confidences=scorers.pop(cascade.cascade_id),
        faults=simulation.faults,
        devices=_devices(simulation),
        log=DecisionLog(log) if log else None,
        window_s=WINDOW_S / simulation.time_compression,
        scorers=scorers,
        difficulties=Difficulties(ranking) if _ranks_prompts(simulation) else None,
    )
    cluster = Cluster(environment, system)
    cluster.run(workload.arrivals, lambda now_s: on_progress(now_s, workload.duration_s))
    tables = tables_of(simulation, is_query_aware=system.is_query_aware)
    metrics = _metrics(simulation, cluster.recorder, workload, tables)
    metrics["drift"] = environment.confidences.watch.summary()
    return metrics | {"wall_s": round(time.perf_counter() - began_s, 3)}


def _generators(seed: int) -> tuple[np.random.Generator, ...]:
    """Return independent sources: arrivals, confidences, execution times, routing, difficulty."""
    return tuple(np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(5))


def workload_of(simulation: Simulation) -> Workload:
    """Return what arrives in a run, time compression included; the same every time.

    Raises:
        ConfigError: the trace is not known.
    """
    workload = make_workload(simulation.workload, _generators(simulation.seed)[0])
    time_compression = simulation.time_compression
    if time_compression == 1.0:
        return workload
    arrivals = (
        Arrival(arrival.arrival_s / time_compression, arrival.prompt_id)
        for arrival in workload.arrivals
    )
    return replace(
        workload,
        arrivals=arrivals,
        duration_s=workload.duration_s / time_compression,
        peak_qps=workload.peak_qps * time_compression,
    )


def _devices(simulation: Simulation) -> tuple[Device, ...]:
    """Return the machines, holding all variants as far as these fit."""
    limit, cascades = simulation.hardware.num_resident_max, simulation.cascades
    variants = dict.fromkeys([c.heavy for c in cascades] + [c.light for c in cascades])
    held = tuple(variants)[-limit:]
    types = [name for name, count in simulation.devices for _ in range(count)]
    types = types or [""] * simulation.num_workers
    return tuple(
        Device(worker_id=f"worker-{index:05d}", resident=held, device_type=types[index])
        for index in range(simulation.num_workers)
    )


def _ranks_prompts(simulation: Simulation) -> bool:
    """Whether anything was measured that ranking prompts could be good for."""
    return any(c.cascade_id in simulation.catalog.bypass for c in simulation.cascades)


def tables_of(simulation: Simulation, *, is_query_aware: bool = True) -> QualityTable | ClassTable:
    """Return what answers are worth."""
    catalog = simulation.catalog
    tables = {
        c.cascade_id: QualityTable(
            catalog.quality[c.cascade_id],
            is_query_aware,
            catalog.bypass.get(c.cascade_id, ()),
        )
        for c in simulation.cascades
    }
    return ClassTable(tables) if len(tables) > 1 else next(iter(tables.values()))


def _bound(simulation: Simulation, recorder: Recorder) -> tuple[float | None, float | None]:
    """Return the best windowed quality and its share of busy devices; None for mixed fleets.

    Devices of several types have no common unit of work, so the fluid has no simple optimum.
    """
    catalog, cascade = simulation.catalog, simulation.cascade
    if len({name for name, _ in simulation.devices}) > 1:
        return None, None
    arrivals = [window.arrivals for window in recorder.windows]
    kind = simulation.devices[0][0] if simulation.devices else ""
    latency = {
        v: catalog.latency_by_device.get(v, {}).get(kind, profile)
        for v, profile in catalog.latency.items()
    }
    if len(simulation.cascades) > 1 or _ranks_prompts(simulation):
        return mixture_bound(
            arrivals,
            recorder.window_s,
            simulation.num_workers,
            [
                MixedCascade(
                    cascade=c,
                    light=latency[c.light],
                    heavy=latency[c.heavy],
                    table=QualityTable(
                        catalog.quality[c.cascade_id], bypass=catalog.bypass.get(c.cascade_id, ())
                    ),
                )
                for c in simulation.cascades
            ],
        )
    aware = QualityTable(catalog.quality[cascade.cascade_id])
    bound = fluid_bound(
        arrivals,
        recorder.window_s,
        simulation.num_workers,
        cascade.slo_s,
        latency[cascade.light],
        latency[cascade.heavy],
        aware.curve,
    )
    qualities = [aware.reported(share) for share in bound.heavy_shares]
    return float(np.mean(qualities)) if qualities else float("nan"), bound.device_busy


def _metrics(
    simulation: Simulation,
    recorder: Recorder,
    workload: Workload,
    table: QualityTable | ClassTable,
) -> dict[str, Any]:
    """Return the metrics, in the units and the sign of the quality table's own metric."""
    bound_quality, bound_busy = _bound(simulation, recorder)
    capacity_s = simulation.num_workers * max(recorder.ended_s, 1e-9)
    return {
        "policy": simulation.policy,
        "cascade": simulation.catalog.default_cascade,
        "trace": simulation.workload.trace,
        "workers": simulation.num_workers,
        "loadbalancers": simulation.num_loadbalancers,
        "slo_s": simulation.cascade.slo_s,
        "seed": simulation.seed,
        **recorder.summary(table),
        "bound_quality_windowed": bound_quality,
        "device_busy": recorder.busy_s / capacity_s,
        "bound_device_busy": bound_busy,
        "swaps": recorder.num_swaps,
        "simulated_s": recorder.ended_s,
        "plans": recorder.num_plans,
        "fallback_plans": recorder.num_fallback_plans,
        "shadows": recorder.num_shadows,
        "busy_refusals": recorder.num_busy_refusals,
        "trace_peak_qps": workload.peak_qps,
    }
