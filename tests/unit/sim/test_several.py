"""Several load balancers before one simulated fleet."""

from __future__ import annotations

from dataclasses import replace

import pytest

from diffserve.errors import ConfigError
from diffserve.sim.faults import Faults, WorkerLoss
from diffserve.sim.run import simulate
from tests.sim.runs import logged, simulation


@pytest.mark.parametrize("number", [2, 3, 8])
def test_every_query_has_one_outcome_on_time(number: int) -> None:
    metrics = simulate(replace(simulation(duration_s=30.0), num_loadbalancers=number))
    assert sum(metrics["outcomes"].values()) == metrics["queries"] > 100
    assert metrics["slo_violation_ratio"] <= 0.002
    assert 0.0 < metrics["device_busy"] <= 1.0


def test_equal_runs_are_equal_and_one_alone_is_never_refused() -> None:
    run = simulation(duration_s=20.0)
    assert (
        logged(replace(run, num_loadbalancers=4))[0] == logged(replace(run, num_loadbalancers=4))[0]
    )
    assert simulate(run)["busy_refusals"] == 0


def test_lost_workers_lose_no_query() -> None:
    faults = Faults(worker_loss=(WorkerLoss(at_s=10.0, share=0.25, duration_s=10.0),))
    run = replace(simulation(duration_s=30.0, faults=faults), num_loadbalancers=4)
    metrics = simulate(run)
    assert metrics["outcomes"]["failed"] == 0
    assert metrics["slo_violation_ratio"] < 0.02


def test_baselines_have_one() -> None:
    with pytest.raises(ConfigError, match="load-balancers"):
        simulate(replace(simulation("proteus"), num_loadbalancers=2))
