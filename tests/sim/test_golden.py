"""A small decision log, line by line: a change of any decision shows up in review.

``python -m tests.sim.test_golden`` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from diffserve.sim.faults import Faults
from tests.sim.runs import logged, simulation

FOLDER = Path(__file__).parent / "golden"
LOSS = Faults.model_validate({"worker_loss": [{"at_s": 5.0, "workers": [1], "duration_s": 3.0}]})
RUNS = {
    "diffserve": simulation(duration_s=12.0, peak_qps=4.0, num_workers=3, faults=LOSS),
    "diffserve-paper": simulation(
        "diffserve-paper", duration_s=12.0, peak_qps=4.0, num_workers=3, faults=LOSS
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_decisions_are_as_reviewed(name: str) -> None:
    assert logged(RUNS[name])[0] == (FOLDER / f"{name}.txt").read_text()


if __name__ == "__main__":
    for run_name, run in RUNS.items():
        (FOLDER / f"{run_name}.txt").write_text(logged(run)[0])
