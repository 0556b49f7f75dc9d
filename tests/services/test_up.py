"""`diffserve up` for real, with the mock catalog: ready, used, hurt, stopped, nothing left."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

START_S = 60.0
COMMAND = (sys.executable, "-m", "diffserve.cli.main")
UP = (
    *(*COMMAND, "up", "--catalog", "mock", "--workers", "2"),
    *("--controller-port", "0", "--loadbalancer-port", "0", "--http-port", "0"),
    *("--worker-port", "0", "--discriminator-port", "0"),
)
RESTART_S = 2.0
"""A killed worker is started again within 1 s; the other second is for a busy machine."""


@dataclass(frozen=True)
class Deployment:
    """A running `diffserve up` and the document that it printed when ready."""

    process: subprocess.Popen[str]
    document: dict[str, Any]
    log: Path

    @property
    def pids(self) -> dict[str, int]:
        return dict(self.document["pids"])

    def written(self) -> dict[str, Any]:
        """Return what `up.json` says now; it is whole at any time."""
        path = Path(self.document["run_directory"]) / "up.json"
        return dict(json.loads(path.read_text()))

    def ask(self, *arguments: str) -> dict[str, Any]:
        """Run a `--json` command against this deployment."""
        service = "loadbalancer" if arguments[0] == "generate" else "controller"
        address = self.document["endpoints"][service]
        done = subprocess.run(
            [*COMMAND, *arguments, "--address", address, "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


@contextmanager
def deployment(directory: Path) -> Iterator[Deployment]:
    log = directory / "up.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*UP, "--run-dir", str(directory / "run"), "--json"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    try:
        yield Deployment(process, _read_document(process, log), log)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)
        assert process.stdout is not None
        process.stdout.close()


def _read_document(process: subprocess.Popen[str], log: Path) -> dict[str, Any]:
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line == "}\n":
            return dict(json.loads(text))
    raise AssertionError(f"no ready document; standard error:\n{log.read_text()}")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def new_pid(up: Deployment, name: str) -> int:
    """Return the process id that the worker's port now belongs to, from its command line."""
    flag = f"--worker-id={name}\0".encode()
    port = f"--port={up.document['endpoints'][name].rpartition(':')[2]}\0".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != up.pids[name]:
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if flag in command and port in command and is_alive(int(entry.name)):
                return int(entry.name)
    return 0


@pytest.mark.timeout(240)
def test_up_serves_heals_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with deployment(tmp_path) as up:
        picture = tmp_path / "made" / "owl.png"
        answer = up.ask("generate", "an owl", "-o", str(picture), "--seed", "7")
        assert answer["seed"] == 7
        assert answer["variant_id"] in ("mock-light", "mock-heavy")
        with Image.open(picture) as image:
            assert image.size == (64, 64)

        _check_status(up)
        _check_worker_is_replaced(up)

        pids = up.pids
        replacement = new_pid(up, "worker-1")
        up.process.send_signal(signal.SIGTERM)
        assert up.process.wait(timeout=60) == 0
        assert not [name for name, pid in pids.items() if is_alive(pid)]
        assert not is_alive(replacement)
        for endpoint in up.document["endpoints"].values():
            host, _, port = endpoint.rpartition(":")
            with pytest.raises(OSError, match="refused"), socket.create_connection((host, port)):
                pass


def _check_status(up: Deployment) -> None:
    status = up.ask("status")
    assert status["redis_connected"]
    assert [worker["worker_id"] for worker in status["workers"]] == ["worker-0", "worker-1"]
    assert status["plan"]["plan_id"] >= 1
    assert eventually(lambda: up.ask("status")["cascades"][0]["num_arrivals"] == 1, 10.0)
    assert up.ask("plan", "show")["placements"]
    assert up.ask("cascade", "list")["cascades"][0]["is_default"]
    assert up.ask("planning", "pause")["paused"]
    assert not up.ask("planning", "resume")["paused"]


def _check_worker_is_replaced(up: Deployment) -> None:
    os.kill(up.pids["worker-1"], signal.SIGKILL)
    assert eventually(lambda: new_pid(up, "worker-1") > 0, RESTART_S), up.log.read_text()
    now = {**up.pids, "worker-1": new_pid(up, "worker-1")}
    assert eventually(lambda: up.written() == {**up.document, "pids": now}, RESTART_S)
    assert eventually(lambda: "worker-1 serves again" in up.log.read_text(), START_S)
    workers = {worker["worker_id"]: worker for worker in up.ask("workers", "list")["workers"]}
    assert workers["worker-1"]["address"] == up.document["endpoints"]["worker-1"]


@pytest.mark.timeout(180)
def test_children_die_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    with deployment(tmp_path) as up:
        assert all(is_alive(pid) for pid in up.pids.values())
        up.process.kill()
        up.process.wait(timeout=10)
        assert eventually(lambda: not any(map(is_alive, up.pids.values())), 5.0)


@pytest.mark.timeout(120)
def test_failed_start_shows_the_log_and_stops_everything(tmp_path: Path) -> None:
    run_directory = tmp_path / "run"
    done = subprocess.run(
        [*UP, "--run-dir", str(run_directory)],
        env={**os.environ, "DIFFSERVE_WORKER_PRELOAD": "nosuch"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 1
    assert "worker.preload: no variant 'nosuch'" in done.stderr
    assert "worker-0.log" in done.stderr or "worker-1.log" in done.stderr
    assert not _processes_logging_to(run_directory)


def _processes_logging_to(directory: Path) -> list[str]:
    """Return the processes whose standard output is a file of this directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                target = (entry / "fd" / "1").readlink()
            except OSError:
                continue
            if directory in target.parents:
                found.append(entry.name)
    return found
