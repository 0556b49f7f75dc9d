"""A context that simulates one small run and gives it as the answer to every question."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from diffserve.experiments.experiment import Context
from diffserve.sim.run import Simulation, simulate
from tests.sim.runs import simulation


@cache
def metrics() -> dict[str, Any]:
    """Return the metrics of a real run, long enough for every page."""
    return simulate(simulation(duration_s=400.0, peak_qps=2.0, num_workers=2))


class Canned(Context):
    """Remembers what was asked for."""

    asked: list[Simulation]

    def simulate(self, runs: Sequence[Simulation]) -> list[dict[str, Any]]:
        assert runs
        return [
            metrics()
            | {"policy": run.policy, "cascade": run.cascade.cascade_id, "seed": run.seed}
            | {"slo_violation_ratio": 0.01}
            for run in runs
        ]


def canned(tmp_path: Path, *, quick: bool = True, data: Path | None = None) -> Canned:
    return Canned(quick, data, (0, 1), jobs=1, cache=tmp_path / "cache")
