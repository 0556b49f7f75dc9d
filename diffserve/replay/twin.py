"""The same workload twice: on a live deployment of mocks, and in the simulator."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffserve.catalog import load_catalog
from diffserve.config import PREFIX
from diffserve.errors import ConfigError
from diffserve.replay.client import Replayed, Target, replay
from diffserve.replay.compression import compressed_settings, write_catalog
from diffserve.replay.deployment import DeploymentParameters, deployed
from diffserve.replay.overheads import Overheads, measure
from diffserve.sim.quality import WINDOW_S
from diffserve.sim.run import Simulation, simulate, tables_of, workload_of
from diffserve.sim.settings import LiveSettings
from diffserve.sim.workload import WorkloadParameters

POLICY = "diffserve"
"""What the live services run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinParameters:
    """What is served twice.

    Attributes:
        catalog: Name or path of a catalog of mocks.
        workload: What arrives, in seconds before compression.
        num_workers: Worker processes, and simulated devices.
        seed: Of the arrivals, and of what the simulator draws.
        time_compression: Divides all seconds; see ``replay.compression``.
    """

    catalog: str
    workload: WorkloadParameters
    num_workers: int
    seed: int
    time_compression: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRun:
    """What the live half came to.

    Attributes:
        metrics: As ``Recorder.summary`` gives them; seconds are compressed.
        overheads: Measured on the deployment once it was idle again.
        lag_s_p99: How late the client sent its queries.
        simulation: The other half, with the measured overheads.
    """

    metrics: dict[str, Any]
    overheads: Overheads
    lag_s_p99: float
    simulation: Simulation

    def simulated(self, seed: int | None = None) -> dict[str, Any]:
        """Return the metrics of the simulated half, in the same units.

        Args:
            seed: None for that of the live run; others show how far runs lie apart by chance.
        """
        chosen = self.simulation.seed if seed is None else seed
        return simulate(replace(self.simulation, seed=chosen))


def run_live(
    parameters: TwinParameters,
    directory: Path,
    report: Callable[[str], None],
    on_progress: Callable[[float, float], None] = lambda now_s, total_s: None,
) -> LiveRun:
    """Start a deployment, serve the workload on it, and stop it.

    Args:
        parameters: What is served.
        directory: For the compressed catalog and the logs of the services.
        report: Called with one line for people when a process comes or goes.
        on_progress: Called with the seconds since the start, and about how many there are.

    Raises:
        CliError: the deployment did not start.
        ConfigError: the trace or the catalog is not known, or there is no checkout.
    """
    _check_environment()
    directory.mkdir(parents=True, exist_ok=True)
    catalog = directory / "compressed.toml"
    write_catalog(parameters.catalog, parameters.time_compression, catalog)
    environment = compressed_settings(parameters.time_compression)
    simulation = Simulation(
        catalog=load_catalog(str(catalog)),
        workload=parameters.workload,
        policy=POLICY,
        num_workers=parameters.num_workers,
        seed=parameters.seed,
        settings=LiveSettings.load(environment),
        time_compression=parameters.time_compression,
    )
    deployment = DeploymentParameters(
        catalog=str(catalog.resolve()),
        num_workers=parameters.num_workers,
        environment=environment,
        directory=directory.resolve(),
    )
    # Not uvloop: it starts children by a true fork, in which gRPC's fork handlers can lock up for
    # ever where channels are open; asyncio's own loop starts them by vfork, which runs none.
    replayed, overheads = asyncio.run(_serve(simulation, deployment, report, on_progress))
    return LiveRun(
        metrics=replayed.recorder.summary(tables_of(simulation)),
        overheads=overheads,
        lag_s_p99=replayed.lag_s(0.99),
        simulation=replace(simulation, hardware=overheads.hardware()),
    )


def _check_environment() -> None:
    """Refuse settings that only the live half would see."""
    known = [name for name in sorted(os.environ) if name.startswith(PREFIX)]
    if known:
        raise ConfigError(f"{', '.join(known)}: unset, or only the live deployment would follow it")


async def _serve(
    simulation: Simulation,
    deployment: DeploymentParameters,
    report: Callable[[str], None],
    on_progress: Callable[[float, float], None],
) -> tuple[Replayed, Overheads]:
    workload = workload_of(simulation)
    async with deployed(deployment, report) as fleet:
        target = Target(
            address=fleet.loadbalancer,
            slo_s=simulation.cascade.slo_s,
            window_s=WINDOW_S / simulation.time_compression,
        )
        replayed = await replay(
            target, workload.arrivals, lambda now_s: on_progress(now_s, workload.duration_s)
        )
        overheads = await measure(fleet.loadbalancer, fleet.controller, simulation.catalog)
    return replayed, overheads
