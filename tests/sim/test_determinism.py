"""Equal inputs give equal bytes, whatever the process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffserve.sim.faults import Faults
from diffserve.sim.policies import POLICIES
from tests.sim.runs import logged, simulation

FAULTS = Faults.model_validate(
    {
        "worker_loss": [{"at_s": 10.0, "share": 0.25, "duration_s": 15.0}],
        "slow_down": [{"at_s": 5.0, "share": 0.5, "factor": 1.5, "duration_s": 20.0}],
    }
)
SCRIPT = """
import hashlib
from tests.sim.runs import logged, simulation
print(hashlib.sha256(logged(simulation(duration_s=20.0))[0].encode()).hexdigest())
"""


@pytest.mark.parametrize("policy", POLICIES)
def test_same_seed_same_bytes(policy: str) -> None:
    first, metrics = logged(simulation(policy, duration_s=30.0, faults=FAULTS))
    second, again = logged(simulation(policy, duration_s=30.0, faults=FAULTS))
    assert first == second
    del metrics["wall_s"], again["wall_s"]
    assert metrics == again


def test_another_seed_is_another_run() -> None:
    assert logged(simulation(duration_s=10.0))[0] != logged(simulation(duration_s=10.0, seed=1))[0]


def test_hash_seed_changes_nothing() -> None:
    expected = hashlib.sha256(logged(simulation(duration_s=20.0))[0].encode()).hexdigest()
    root = Path(__file__).resolve().parents[2]
    for hash_seed in ("1", "2"):
        answer = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert answer.stdout.strip() == expected
