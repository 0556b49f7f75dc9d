"""``diffserve simulate`` from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffserve.catalog import load_catalog
from diffserve.cli.main import app
from diffserve.cli.output import CliError
from diffserve.cli.simulate import parse_devices
from diffserve.errors import ConfigError

SHORT = ["simulate", "--duration", "5", "--workers", "4", "--peak-qps", "8"]


def test_json_holds_the_metrics() -> None:
    answer = CliRunner().invoke(app, [*SHORT, "--json"], catch_exceptions=False)
    metrics = json.loads(answer.stdout)
    assert {
        *("queries", "slo_violation_ratio", "rejected_ratio", "heavy_share", "quality_overall"),
        *("quality_windowed", "device_busy", "swaps", "latency_s_p50", "latency_s_p99"),
        *("wall_s", "bound_quality_windowed"),
    } <= set(metrics)


def test_table_compares_policies() -> None:
    arguments = [*SHORT, "--policy", "diffserve", "--policy", "clipper-light"]
    answer = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "diffserve" in answer.stdout
    assert "clipper-light" in answer.stdout
    assert "lower is better" in answer.stdout


def test_faults_and_log(tmp_path: Path) -> None:
    faults, log = tmp_path / "faults.toml", tmp_path / "decisions.log"
    faults.write_text("[[worker_loss]]\nat_s = 1.0\nworkers = [0]\n")
    arguments = [*SHORT, "--faults", str(faults), "--log", str(log)]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert "1.000000 fault worker-00000 dies" in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        (["--policy", "best"], ConfigError, "policy"),
        (["--trace", "missing.csv"], ConfigError, "missing.csv"),
        (["--cascade", "none"], ConfigError, "catalog"),
        (["--faults", "none.toml"], ConfigError, "faults"),
        (["--log", "/nowhere/log"], CliError, "--log"),
        (["--speedup", "2"], CliError, "^--speedup: azure is generated, not replayed"),
        (["--json", "--policy", "random", "--policy", "proteus"], CliError, "--json"),
    ],
)
def test_mistakes_are_named(arguments: list[str], error: type[Exception], names: str) -> None:
    with pytest.raises(error, match=names):
        CliRunner().invoke(app, [*SHORT, *arguments], catch_exceptions=False)


@pytest.mark.parametrize(
    ("text", "complaint"), [("A100", "TYPE=COUNT"), ("A100=0", "TYPE=COUNT"), ("A100=2", "no")]
)
def test_devices_must_be_known_to_the_catalog(text: str, complaint: str) -> None:
    with pytest.raises(CliError, match=complaint):
        CliRunner().invoke(app, [*SHORT, "--devices", text], catch_exceptions=False)


def test_devices_by_type_take_the_place_of_workers() -> None:
    catalog = load_catalog("mock")
    known = replace(catalog, latency_by_device={"mock-light": {"A": catalog.latency["mock-light"]}})
    assert parse_devices("A=2, A=1", known) == (("A", 2), ("A", 1))
    assert parse_devices("", known) == ()
