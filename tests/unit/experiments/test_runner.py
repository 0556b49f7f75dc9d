from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from diffserve.errors import ConfigError
from diffserve.experiments import runner
from diffserve.experiments.runner import key_of, run_all
from diffserve.sim.run import Simulation
from tests.sim.runs import simulation


def short(seed: int = 0, **fields: object) -> Simulation:
    return simulation(duration_s=5.0, peak_qps=4.0, num_workers=2, seed=seed, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_runs(tmp_path: Path, jobs: int) -> None:
    runs = [short(3), short(1), short(3), short(2)]
    seen: list[tuple[int, int]] = []
    found = run_all(
        runs, jobs=jobs, cache=tmp_path, on_progress=lambda done, total: seen.append((done, total))
    )
    assert [metrics["seed"] for metrics in found] == [3, 1, 3, 2]
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_finished_runs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_all([short()], jobs=1, cache=tmp_path)
    monkeypatch.setattr(runner, "simulate", lambda run: pytest.fail("simulated again"))
    assert run_all([short()], jobs=1, cache=tmp_path) == first


def test_half_a_file_is_no_result(tmp_path: Path) -> None:
    run_all([short()], jobs=1, cache=tmp_path)
    (tmp_path / f"{key_of(short())}.json").write_text('{"seed": 0,')
    assert run_all([short()], jobs=1, cache=tmp_path)[0]["queries"] > 0
    assert not list(tmp_path.glob("*.tmp"))


def test_keys_tell_runs_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = tmp_path / "a.csv", tmp_path / "b.csv"
    path.write_text("0,1\n")
    other.write_text("0,1\n")
    keys = {
        key_of(run)
        for run in (
            short(),
            short(1),
            short(slo_s=4.0),
            short(policy="random"),
            dataclasses.replace(short(), num_workers=3),
            short(trace=str(path)),
        )
    }
    assert len(keys) == 6
    assert key_of(short(trace=str(other))) in keys, "where a file lies does not matter"
    path.write_text("0,1\n1,2\n")
    assert key_of(short(trace=str(path))) not in keys, "what is in it does"
    monkeypatch.setattr(runner, "code_digest", lambda: "other code")
    assert key_of(short()) not in keys


def test_folder_of_a_trace_stays_out_of_the_metrics(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("0,1\n500,2\n")
    run = dataclasses.replace(
        short(), workload=dataclasses.replace(short().workload, trace=str(path), peak_qps=None)
    )
    metrics = run_all([run], jobs=1, cache=tmp_path / "cache")[0]
    assert metrics["trace"] == "trace.csv"
    assert str(tmp_path) not in json.dumps(metrics)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_mistake_is_reported_as_it_is(tmp_path: Path, jobs: int) -> None:
    with pytest.raises(ConfigError, match="best"):
        run_all([short(policy="best"), short(policy="best", seed=1)], jobs=jobs, cache=tmp_path)
