"""What the two halves of a comparison have in common."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from diffserve.catalog import load_catalog
from diffserve.config import PREFIX
from diffserve.errors import ConfigError
from diffserve.replay.compression import compressed_settings, write_catalog
from diffserve.replay.twin import TwinParameters, run_live
from diffserve.sim.quality import WINDOW_S
from diffserve.sim.run import Simulation, simulate, workload_of
from diffserve.sim.settings import LiveSettings
from diffserve.sim.workload import WorkloadParameters
from tests.sim.runs import logged, simulation

WORKLOAD = WorkloadParameters(trace="azure", peak_qps=8.0, duration_s=60.0)


def compressed(factor: float, directory: Path) -> Simulation:
    path = directory / f"by-{factor:g}.toml"
    write_catalog("paper-sdturbo", factor, path)
    usual = simulation(peak_qps=8.0, num_workers=4)
    return replace(
        usual,
        catalog=load_catalog(str(path)),
        settings=LiveSettings.load(compressed_settings(factor)),
        time_compression=factor,
    )


def test_a_compressed_workload_is_the_same_queries_sooner(tmp_path: Path) -> None:
    usual = list(workload_of(compressed(1.0, tmp_path)).arrivals)
    sooner = list(workload_of(compressed(4.0, tmp_path)).arrivals)
    assert [a.prompt_id for a in sooner] == [a.prompt_id for a in usual]
    assert [4.0 * a.arrival_s for a in sooner] == pytest.approx([a.arrival_s for a in usual])


def test_workloads_can_be_had_twice(tmp_path: Path) -> None:
    run = compressed(2.0, tmp_path)
    assert list(workload_of(run).arrivals) == list(workload_of(run).arrivals)


def test_a_compressed_simulation_is_nearly_the_usual_one(tmp_path: Path) -> None:
    usual, fast = simulate(compressed(1.0, tmp_path)), simulate(compressed(2.0, tmp_path))
    assert fast["windows"]["arrivals"] == usual["windows"]["arrivals"]
    assert fast["windows"]["start_s"][1] == WINDOW_S / 2.0
    assert fast["heavy_share"] == pytest.approx(usual["heavy_share"], abs=0.05)
    assert 2.0 * fast["latency_s_p99"] == pytest.approx(usual["latency_s_p99"], rel=0.1)


def test_plans_take_effect_after_their_delay(tmp_path: Path) -> None:
    run = compressed(2.0, tmp_path)
    slow = replace(run, hardware=replace(run.hardware, plan_delay_s=0.25))
    plans = [line for line in logged(slow)[0].splitlines() if " plan " in line]
    period_s = run.settings.controller.planning_period_s
    assert float(plans[1].split()[0]) == period_s + 0.25 == 1.25


def test_settings_that_only_one_half_would_see_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}CONTROLLER_PLANNING_PERIOD_S", "7")
    parameters = TwinParameters(
        catalog="paper-sdturbo", workload=WORKLOAD, num_workers=2, seed=0, time_compression=1.0
    )
    with pytest.raises(ConfigError, match="CONTROLLER_PLANNING_PERIOD_S"):
        run_live(parameters, tmp_path / "never", print)
    assert not (tmp_path / "never").exists()
