"""A cap on the share deferred holds in the balancer's own decisions, however idle the cluster."""

from __future__ import annotations

import dataclasses

import pytest

from diffserve.sim.run import simulate
from tests.sim.runs import CATALOG, simulation

CASCADE = CATALOG.cascades["paper-sdturbo"]


def heavy_share(deferral_max: float, peak_qps: float = 4.0) -> float:
    """Return the share of answers that the heavy variant drew."""
    capped = dataclasses.replace(CASCADE, deferral_max=deferral_max)
    catalog = dataclasses.replace(CATALOG, cascades={CASCADE.cascade_id: capped})
    run = dataclasses.replace(simulation(duration_s=300.0, peak_qps=peak_qps), catalog=catalog)
    metrics = simulate(run)
    assert metrics["slo_violation_ratio"] == 0.0
    outcomes = metrics["outcomes"]
    return float(outcomes["heavy"] / metrics["queries"])


@pytest.mark.parametrize("deferral_max", [0.0, 0.1, 0.24])
def test_an_idle_cluster_defers_no_more_than_the_cap(deferral_max: float) -> None:
    assert heavy_share(deferral_max) == pytest.approx(deferral_max, abs=0.02)


def test_without_a_cap_an_idle_cluster_defers_what_is_best_for_quality() -> None:
    assert heavy_share(1.0) > 0.5
