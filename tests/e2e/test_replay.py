"""A short trace served live and simulated: the same figures within a loose band."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffserve.config import PREFIX
from diffserve.replay.twin import LiveRun, TwinParameters, run_live
from diffserve.sim.workload import WorkloadParameters
from tests.e2e.stack import running_stack

DURATION_S = 60.0
FACTOR = 4.0
SEED = 3


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("clean_environment")
def test_live_mocks_and_simulator_agree(tmp_path: Path) -> None:
    parameters = TwinParameters(
        catalog="paper-sdturbo",
        workload=WorkloadParameters(trace="azure", peak_qps=8.0, duration_s=DURATION_S),
        num_workers=4,
        seed=SEED,
        time_compression=FACTOR,
    )
    told: list[str] = []
    ticks: list[float] = []
    live = run_live(parameters, tmp_path, told.append, lambda now_s, total_s: ticks.append(now_s))
    simulated = live.simulated()
    assert live.metrics["queries"] == simulated["queries"] > 150
    windows = live.metrics["windows"]
    assert windows["arrivals"] == simulated["windows"]["arrivals"]
    assert windows["start_s"][1] == 5.0 / FACTOR
    assert sum(live.metrics["outcomes"].values()) == live.metrics["queries"]
    # A shared machine may stall for a while; a deployment that is broken differs by far more.
    assert live.metrics["heavy_share"] == pytest.approx(simulated["heavy_share"], abs=0.08)
    assert live.metrics["slo_violation_ratio"] <= simulated["slo_violation_ratio"] + 0.05
    assert live.metrics["rejected_ratio"] <= simulated["rejected_ratio"] + 0.02
    quality = simulated["quality_windowed"]
    assert live.metrics["quality_windowed"] == pytest.approx(quality, rel=0.02)
    check_overheads(live)
    assert [line for line in told if "worker-3 ready" in line]
    assert not [line for line in told if "again" in line]
    assert ticks == sorted(ticks)
    assert "serving on" in (tmp_path / "loadbalancer.log").read_text()


def check_overheads(live: LiveRun) -> None:
    overheads = live.overheads
    assert 0.0 < overheads.network_s < 0.05
    assert 0.0 < overheads.scoring_s < 0.1
    assert 0.0 <= overheads.execution_excess_s < 0.05
    assert 0.0 < overheads.plan_delay_s < 1.0
    assert live.simulation.hardware.network_s == overheads.network_s


@pytest.mark.usefixtures("clean_environment")
def test_replay_command_on_a_running_deployment(tmp_path: Path) -> None:
    log = tmp_path / "queries.csv"
    with running_stack(tmp_path, "--catalog=mock", "--workers=2") as stack:
        document = stack.cli(
            *("replay", "--trace=poisson", "--duration=5", "--peak-qps=8", "--catalog=mock"),
            *(f"--log={log}", f"--address={stack.door}"),
        )
    assert document["queries"] == sum(document["outcomes"].values()) > 15
    assert document["slo_violation_ratio"] < 0.2
    assert document["cascade"] == "mock"
    with log.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == document["queries"]
    assert {row["variant"] for row in rows if row["outcome"] == "heavy"} <= {"mock-heavy"}


def test_replay_without_a_deployment_says_so() -> None:
    command = [sys.executable, "-m", "diffserve.cli.main", "replay", "--address=127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "no load balancer answers at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
