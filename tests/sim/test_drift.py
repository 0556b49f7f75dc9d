"""When confidences shift, the share deferred is held, the alarm goes on, and only then."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from diffserve.profiles.drift import WINDOW
from diffserve.sim.faults import Faults
from diffserve.sim.images import Confidences
from diffserve.sim.run import simulate
from tests.sim.runs import CATALOG, logged, simulation

NUM_QUERIES = 6500
"""Of the main trace."""


def drifted(**shift: float) -> dict[str, Any]:
    faults = Faults.model_validate({"confidence_shift": [{"at_s": 60.0, **shift}]})
    metrics = simulate(simulation(duration_s=180.0, faults=faults))
    found: dict[str, Any] = metrics["drift"]
    return found


@pytest.mark.parametrize(
    "shift", [{"offset": 1.0}, {"offset": -1.0}, {"temperature": 2.0}, {"temperature": 0.5}]
)
def test_a_static_threshold_loses_the_share_and_ranks_hold_it(shift: dict[str, float]) -> None:
    drift = drifted(**shift)
    assert drift["static_deferral_error_before"] < 0.08
    assert drift["deferral_error_before"] < 0.08
    assert drift["static_deferral_error_after"] > 0.2
    assert drift["deferral_error_after"] < 0.06
    assert drift["alarms"] == 1
    assert drift["is_alarm"]
    assert drift["images_to_alarm"] <= WINDOW
    assert drift["alarm_s"] > 60.0


def test_the_alarm_ends_with_the_drift() -> None:
    faults = Faults.model_validate(
        {"confidence_shift": [{"at_s": 40.0, "duration_s": 60.0, "offset": 1.5}]}
    )
    drift = simulate(simulation(duration_s=180.0, faults=faults))["drift"]
    assert drift["alarms"] == 1
    assert not drift["is_alarm"]


@pytest.mark.parametrize("seed", range(20))
def test_no_false_alarm(seed: int) -> None:
    """The scores of as many queries as the main trace has."""
    confidences = Confidences(CATALOG.deferral["paper-sdturbo"], 2048, np.random.default_rng(seed))
    for number in range(NUM_QUERIES):
        confidences.percentile(confidences.draw(number))
    assert confidences.watch.summary()["alarms"] == 0


def test_shadows_change_no_outcome_but_who_is_busy() -> None:
    """Checkers watch every run: no query has two outcomes, no device two batches."""
    run = simulation(duration_s=60.0)
    settings = run.settings
    with_shadows = dataclasses.replace(
        run,
        settings=dataclasses.replace(
            settings, loadbalancer=settings.loadbalancer.model_copy(update={"shadow_share": 1.0})
        ),
    )
    log, metrics = logged(with_shadows)
    _, plain = logged(run)
    assert metrics["shadows"] == log.count(" shadow batch=")
    assert metrics["shadows"] > 10
    assert metrics["queries"] == plain["queries"] == sum(metrics["outcomes"].values())
    assert metrics["slo_violation_ratio"] == 0.0
    assert metrics["quality_windowed"] == pytest.approx(plain["quality_windowed"], abs=0.05)
