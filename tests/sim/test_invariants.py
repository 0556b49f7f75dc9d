"""Seeds x faults x policies; the checkers inside every run are what is tested.

Failures name the seed; the run is repeated with ``simulation(policy, seed=seed, faults=...)``.
"""

from __future__ import annotations

import pytest

from diffserve.sim.faults import Faults
from diffserve.sim.hardware import HardwareParameters
from diffserve.sim.policies import POLICIES
from diffserve.sim.run import simulate
from tests.sim.runs import simulation

FAULTS = {
    "none": Faults(),
    "loss": Faults.model_validate({"worker_loss": [{"at_s": 8.0, "share": 0.5}]}),
    "all lost, then back": Faults.model_validate(
        {"worker_loss": [{"at_s": 8.0, "share": 1.0, "duration_s": 4.0}]}
    ),
    "lost for a blink": Faults.model_validate(
        {"worker_loss": [{"at_s": 8.0, "share": 0.5, "duration_s": 0.05}]}
    ),
    "slow": Faults.model_validate({"slow_down": [{"at_s": 5.0, "share": 0.5, "factor": 3.0}]}),
    "late plans": Faults.model_validate(
        {"late_plan": [{"at_s": 4.0, "duration_s": 8.0, "delay_s": 5.0}]}
    ),
    "no telemetry": Faults.model_validate({"lost_telemetry": [{"at_s": 4.0, "duration_s": 9.0}]}),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("policy", POLICIES)
def test_invariants_hold(policy: str, fault: str) -> None:
    for seed in range(2):
        metrics = simulate(
            simulation(
                policy, trace="steps", duration_s=20.0, cv=2.0, seed=seed, faults=FAULTS[fault]
            )
        )
        assert sum(metrics["outcomes"].values()) == metrics["queries"] > 0, f"seed {seed}"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("policy", ["diffserve", "diffserve-paper"])
def test_invariants_hold_with_variants_that_must_be_loaded(policy: str, fault: str) -> None:
    hardware = HardwareParameters(num_resident_max=1, load_s=3.0, swap_s=0.2, latency_cv=0.3)
    for seed in range(2):
        simulate(
            simulation(
                policy,
                trace="steps",
                duration_s=40.0,
                seed=seed,
                faults=FAULTS[fault],
                hardware=hardware,
            )
        )


def test_losing_a_worker_loses_no_query() -> None:
    for seed in range(3):
        faults = Faults.model_validate({"worker_loss": [{"at_s": 30.0, "share": 0.25}]})
        metrics = simulate(simulation(seed=seed, faults=faults))
        assert metrics["slo_violation_ratio"] <= 0.005, f"seed {seed}"
        assert metrics["rejected_ratio"] == 0.0, f"seed {seed}"
        assert metrics["outcomes"]["failed"] == 0, f"seed {seed}"
