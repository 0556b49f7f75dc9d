"""Doctor: each check finds what is wrong and says how to mend it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffserve.catalog import SHIPPED
from diffserve.cli import checks_deployment, checks_machine, doctor
from diffserve.cli.findings import Finding, Level

PORTS = ("CONTROLLER", "LOADBALANCER", "WORKER", "DISCRIMINATOR")


@pytest.fixture
def listener() -> Iterator[int]:
    """A port held by a program that speaks no gRPC."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def levels(findings: Iterator[Finding]) -> list[Level]:
    found = list(findings)
    assert all(f.remedy for f in found if f.level is Level.FAIL), "a failure without a remedy"
    return [f.level for f in found]


def test_python_packages_and_settings_are_fine_here() -> None:
    assert levels(checks_machine.check_python()) == [Level.OK]
    assert Level.FAIL not in levels(checks_machine.check_packages())
    assert levels(checks_deployment.check_settings()) == [Level.OK]


def test_wrong_settings_fail_and_the_other_checks_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFSERVE_NOSUCH", "1")
    (finding,) = checks_deployment.check_settings()
    assert finding.level is Level.FAIL
    assert "DIFFSERVE_NOSUCH" in finding.detail
    assert levels(checks_machine.check_redis()) == [Level.OK]


def test_redis_of_our_own_starts_and_a_dead_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert levels(checks_machine.check_redis()) == [Level.OK]
    monkeypatch.setenv("DIFFSERVE_REDIS_URL", "redis://127.0.0.1:1/0")
    assert levels(checks_machine.check_redis()) == [Level.FAIL]


def test_one_solver_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_cbc(code: str) -> tuple[str, str]:
        return ("", "") if "pulp" in code else ("", "GurobiError: no licence")

    monkeypatch.setattr(checks_machine, "_run_probe", only_cbc)
    assert levels(checks_machine.check_solvers()) == [Level.WARN, Level.OK]
    monkeypatch.setattr(checks_machine, "_run_probe", lambda code: ("", "crashed"))
    assert levels(checks_machine.check_solvers()) == [Level.WARN, Level.FAIL]


def test_cbc_really_solves() -> None:
    assert checks_machine._cbc_problem() == ""


def test_broken_torch_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks_machine, "_run_probe", lambda code: ("", "ImportError: libfoo"))
    (finding,) = checks_machine.check_devices()
    assert finding.level in (Level.FAIL, Level.WARN)
    assert finding.remedy


def test_missing_weights_fail_and_hub_ids_warn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (SHIPPED / "mock.toml").read_text()
    text = text.replace('pipeline = "mock"', 'source = "/no/such/dir"\npipeline = "P"', 1)
    text = text.replace('pipeline = "mock"', 'source = "owner/name"\npipeline = "P"', 1)
    path = tmp_path / "mine.toml"
    path.write_text(text)
    monkeypatch.setenv("DIFFSERVE_CATALOG", str(path))
    # By name: the heavy variant has the hub id.
    assert levels(checks_deployment.check_catalog()) == [Level.OK, Level.WARN, Level.FAIL]
    single = tmp_path / "single.safetensors"
    single.write_bytes(b"0")
    path.write_text(text.replace("/no/such/dir", single.name))
    assert levels(checks_deployment.check_catalog()) == [Level.OK, Level.WARN, Level.OK]
    monkeypatch.setenv("DIFFSERVE_CATALOG", "nosuch")
    assert levels(checks_deployment.check_catalog()) == [Level.FAIL]


def test_port_of_another_program_fails(monkeypatch: pytest.MonkeyPatch, listener: int) -> None:
    for name in PORTS:
        monkeypatch.setenv(f"DIFFSERVE_UP_{name}_PORT", "0")
    assert set(levels(checks_deployment.check_services())) == {Level.OK}
    monkeypatch.setenv("DIFFSERVE_UP_WORKER_PORT", str(listener))
    failed = [f for f in checks_deployment.check_services() if f.level is Level.FAIL]
    assert [f.detail for f in failed] == [f"worker: {listener} is held by another program"]
    assert "DIFFSERVE_UP_WORKER_PORT" in failed[0].remedy


def test_probe_reports_the_last_line_or_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks_machine._run_probe("print('yes')") == ("yes\n", "")
    assert checks_machine._run_probe("raise ValueError('no')")[1] == "ValueError: no"

    def late(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("python", 1.0)

    monkeypatch.setattr(subprocess, "run", late)
    assert "no answer" in checks_machine._run_probe("pass")[1]


@pytest.mark.parametrize(("level", "exit_code"), [(Level.OK, 0), (Level.WARN, 0), (Level.FAIL, 1)])
def test_only_failures_fail(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    level: Level,
    exit_code: int,
) -> None:
    def check() -> Iterator[Finding]:
        yield Finding("thing", level, "found [this]", "do that")

    monkeypatch.setattr(doctor, "CHECKS", (check,))
    assert doctor.run_doctor(as_json=True) == exit_code
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] == (exit_code == 0)
    assert document["findings"][0]["level"] == level
    assert doctor.run_doctor(as_json=False) == exit_code
    shown = capsys.readouterr().out
    assert "found [this]" in shown
    assert "do that" in shown
