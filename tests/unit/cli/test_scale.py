"""``workers scale`` against a Docker engine in memory and a real Admin service on loopback."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import grpc
import pytest

from diffserve.cli import scale
from diffserve.cli.output import CliError
from diffserve.cli.scale import scale_workers
from diffserve.rpc.v1 import admin_pb2, admin_pb2_grpc
from tests.unit.cli.fake_docker import PROJECT, FakeDocker, inspected


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    fake = FakeDocker()
    monkeypatch.setattr(docker, "from_env", lambda: fake)
    monkeypatch.setattr(scale, "POLL_S", 0.0)
    for number in (1, 2):
        fake.add(inspected("worker", number))
    fake.add(inspected("controller", 1))
    return fake


class _Admin(admin_pb2_grpc.AdminServicer):
    """Knows two workers and notes who is drained."""

    def __init__(self) -> None:
        self.drained: list[str] = []

    def ListWorkers(self, request: Any, context: Any) -> admin_pb2.ListWorkersResponse:
        return admin_pb2.ListWorkersResponse(
            workers=[
                admin_pb2.WorkerStatus(worker_id="one", address="worker100000:50061"),
                admin_pb2.WorkerStatus(worker_id="two", address="worker200000:50061"),
            ]
        )

    def DrainWorker(self, request: Any, context: Any) -> admin_pb2.DrainWorkerResponse:
        self.drained.append(request.worker_id)
        return admin_pb2.DrainWorkerResponse()


@pytest.fixture
def admin(engine: FakeDocker) -> Iterator[_Admin]:
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    servicer = _Admin()
    admin_pb2_grpc.add_AdminServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    published = {"50050/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(port)}]}
    engine.fleet[-1].attrs["NetworkSettings"]["Ports"] = published
    yield servicer
    server.stop(None).wait()


def test_more_workers_are_created_and_waited_for(
    engine: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.pending_states = [{"Status": "running", "Health": {"Status": "starting"}}] * 4
    scale_workers(4, PROJECT, as_json=True)
    assert engine.log == [
        *("create shop-worker-3", "start shop-worker-3"),
        *("create shop-worker-4", "start shop-worker-4"),
    ]
    assert engine.pending_states == []
    assert json.loads(capsys.readouterr().out) == {
        "project": "shop",
        "workers": ["shop-worker-1", "shop-worker-2", "shop-worker-3", "shop-worker-4"],
        "started": ["shop-worker-3", "shop-worker-4"],
        "removed": [],
    }
    assert engine.is_closed


def test_a_gap_in_the_numbers_is_filled_and_a_stopped_worker_started(engine: FakeDocker) -> None:
    engine.fleet[1].attrs = inspected("worker", 3)
    engine.fleet[1].attrs["State"] = {"Status": "exited"}
    scale_workers(3, PROJECT, as_json=True)
    assert engine.log == ["start shop-worker-3", "create shop-worker-2", "start shop-worker-2"]


def test_fewer_workers_drain_the_highest_number_first(
    engine: FakeDocker, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.add(inspected("worker", 10))
    scale_workers(1, PROJECT, as_json=False)
    assert engine.log == [
        *("stop shop-worker-10 within 12 s", "remove shop-worker-10"),
        *("stop shop-worker-2 within 12 s", "remove shop-worker-2"),
    ]
    assert "1 worker; started none, removed shop-worker-10, shop-worker-2" in " ".join(
        capsys.readouterr().out.split()
    )


def test_the_controller_is_told_before_a_worker_is_stopped(
    engine: FakeDocker, admin: _Admin
) -> None:
    scale_workers(1, PROJECT, as_json=True)
    assert admin.drained == ["two"]
    assert "remove shop-worker-2" in engine.log


def test_workers_that_an_address_does_not_tell_apart_are_only_stopped(
    engine: FakeDocker, admin: _Admin
) -> None:
    for container in engine.fleet[:2]:
        container.attrs["Config"]["Hostname"] = "shared"
    scale_workers(1, PROJECT, as_json=True)
    assert admin.drained == []
    assert "remove shop-worker-2" in engine.log


def test_a_controller_that_does_not_answer_does_not_hinder(engine: FakeDocker) -> None:
    published = {"50050/tcp": [{"HostIp": "127.0.0.1", "HostPort": "1"}]}
    engine.fleet[-1].attrs["NetworkSettings"]["Ports"] = published
    scale_workers(1, PROJECT, as_json=True)
    assert "remove shop-worker-2" in engine.log


def test_an_image_whose_name_has_moved_on_is_taken_by_id(engine: FakeDocker) -> None:
    engine.tags = []
    scale_workers(3, PROJECT, as_json=True)
    assert engine.created[0]["Image"] == "sha256:1"


def test_further_networks_are_joined_before_the_start(engine: FakeDocker) -> None:
    engine.fleet[0].attrs["NetworkSettings"]["Networks"]["aside"] = {"Aliases": None}
    scale_workers(3, PROJECT, as_json=True)
    assert engine.log == [
        "create shop-worker-3",
        "connect shop-worker-3 to aside as shop-worker-3",
        "start shop-worker-3",
    ]


@pytest.mark.parametrize(
    "state",
    [
        {"Status": "running", "Health": {"Status": "unhealthy"}},
        {"Status": "restarting", "Health": {"Status": "starting"}},
        {"Status": "exited"},
    ],
)
def test_a_replica_that_fails_is_reported_with_its_log(
    engine: FakeDocker, state: dict[str, Any]
) -> None:
    engine.pending_states = [state]
    with pytest.raises(CliError, match="no such variant"):
        scale_workers(2, PROJECT, as_json=True)


def test_what_the_engine_refuses_is_told_and_leaves_no_container(engine: FakeDocker) -> None:
    engine.start_error = docker.errors.APIError("no", explanation="no such device: 3")
    with pytest.raises(CliError, match="no such device: 3"):
        scale_workers(3, PROJECT, as_json=True)
    assert engine.log[-1] == "remove shop-worker-3 by force"


def test_an_unknown_project_names_the_known_ones(engine: FakeDocker) -> None:
    with pytest.raises(CliError, match=r"'bar' has no worker containers; .*shop"):
        scale_workers(2, "bar", as_json=True)
    engine.fleet.clear()
    with pytest.raises(CliError, match="docker compose up"):
        scale_workers(2, "bar", as_json=True)


def test_never_below_one(engine: FakeDocker) -> None:
    with pytest.raises(CliError, match="1 or more"):
        scale_workers(0, PROJECT, as_json=True)
    assert engine.log == []


def test_a_missing_engine_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise docker.errors.DockerException("connection refused")

    monkeypatch.setattr(docker, "from_env", fail)
    with pytest.raises(CliError, match="no Docker engine answers"):
        scale_workers(2, PROJECT, as_json=True)


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "docker":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(CliError, match=r"diffserve\[docker\]"):
        scale_workers(2, PROJECT, as_json=True)
