"""What `diffserve up` would run: ports, flags, environment."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from diffserve.cli.fleet import ChildSpec, Fleet, num_workers, plan_fleet
from diffserve.config import SECTIONS, UpSettings, load_settings, settings_from_argv
from diffserve.errors import ConfigError
from diffserve.telemetry.server import LISTENING_PORTS, free_port

FREE = {
    "controller_port": 0,
    "loadbalancer_port": 0,
    "http_port": 0,
    "worker_port": 0,
    "discriminator_port": 0,
}


def fleet_of(cores: int = 4, **flags: object) -> Fleet:
    given = {**FREE, "catalog": "mock", **flags}
    settings = load_settings(UpSettings, environ={}, flags=given)
    return plan_fleet(settings, given, Path("/nowhere"), cores)


def named(fleet: Fleet, name: str) -> ChildSpec:
    return next(child for child in fleet.children() if child.name == name)


def test_stages_go_from_redis_to_the_door() -> None:
    kinds = [sorted({child.kind for child in stage}) for stage in fleet_of().stages]
    assert kinds == [["redis"], ["controller", "discriminator"], ["worker"], ["loadbalancer"]]


def test_every_service_accepts_its_flags_and_they_agree() -> None:
    fleet = fleet_of(num_workers=2, log_level="debug", grace_s=3.0)
    for child in fleet.children():
        if child.kind == "redis":
            continue
        settings = settings_from_argv(SECTIONS[child.kind], child.command[3:], {})
        assert settings.redis_url == fleet.redis_url
        assert settings.controller_address == fleet.controller
        assert settings.catalog == "mock"
        assert settings.log_level == "debug"
        assert settings.grace_s == 3.0
        assert child.address == f"127.0.0.1:{getattr(settings, 'port')}"  # noqa: B009


def test_configured_redis_is_used_and_none_started() -> None:
    fleet = fleet_of(redis_url="redis://elsewhere:1/0")
    assert fleet.redis_url == "redis://elsewhere:1/0"
    assert all(child.kind != "redis" for child in fleet.children())


@pytest.mark.parametrize(("asked", "cores", "expected"), [(0, 1, 2), (0, 8, 8), (1, 8, 1)])
def test_default_is_a_worker_per_core_and_one_per_stage(
    asked: int, cores: int, expected: int
) -> None:
    settings = load_settings(UpSettings, environ={}, flags={"num_workers": asked})
    assert num_workers(settings, cores) == expected


@pytest.mark.parametrize(("workers", "cores", "threads"), [(2, 2, "1"), (2, 8, "4"), (4, 2, "1")])
def test_workers_share_the_cores(
    monkeypatch: pytest.MonkeyPatch, workers: int, cores: int, threads: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    environment = named(fleet_of(cores, num_workers=workers), "worker-0").environment
    assert environment["OMP_NUM_THREADS"] == threads
    assert environment["DIFFSERVE_WORKER_NUM_THREADS"] == threads
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"


def test_thread_count_of_the_user_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFSERVE_WORKER_NUM_THREADS", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    environment = {**os.environ, **named(fleet_of(), "worker-0").environment}
    assert environment["DIFFSERVE_WORKER_NUM_THREADS"] == "3"
    assert environment["OMP_NUM_THREADS"] == "3"


def test_workers_score_their_own_images_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DIFFSERVE_WORKER_SCORING", raising=False)
    assert named(fleet_of(), "worker-0").environment["DIFFSERVE_WORKER_SCORING"] == "local"
    monkeypatch.setenv("DIFFSERVE_WORKER_SCORING", "service")
    assert "DIFFSERVE_WORKER_SCORING" not in named(fleet_of(), "worker-0").environment


def test_services_use_grpcs_older_poller_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("GRPC_EXPERIMENTS", raising=False)
    environment = named(fleet_of(), "loadbalancer").environment
    assert environment["GRPC_EXPERIMENTS"] == "-event_engine_client,-event_engine_listener"
    images = {
        path: path.read_text()
        for path in (Path(__file__).parents[3] / "services").glob("*/Dockerfile")
    }
    assert len(images) == 4
    for path, text in images.items():
        assert f"GRPC_EXPERIMENTS={environment['GRPC_EXPERIMENTS']} " in text, path
    monkeypatch.setenv("GRPC_EXPERIMENTS", "")
    assert named(fleet_of(), "loadbalancer").environment["GRPC_EXPERIMENTS"] == ""


def test_many_workers_step_over_the_other_ports() -> None:
    base = 39_000 + os.getpid() % 1000
    ports = {"worker_port": base, "discriminator_port": base + 2}
    fleet = fleet_of(num_workers=4, **ports)
    addresses = [named(fleet, f"worker-{i}").address for i in range(4)]
    assert addresses == [f"127.0.0.1:{base + step}" for step in (0, 1, 3, 4)]


def test_wildcard_host_is_reached_by_loopback() -> None:
    worker = named(fleet_of(host="0.0.0.0"), "worker-0")
    assert worker.address.startswith("127.0.0.1:")
    assert "--host=0.0.0.0" in worker.command
    assert f"--advertise-address={worker.address}" in worker.command


def test_taken_port_names_setting_flag_and_variable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            fleet_of(controller_port=port)
    for part in (
        f"up.controller_port: cannot listen on 127.0.0.1:{port}",
        "--controller-port",
        "DIFFSERVE_UP_CONTROLLER_PORT",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("host", ["999.1.1.1", "192.0.2.1"])
@pytest.mark.parametrize("port", [0, 50050])
def test_a_host_that_is_not_this_machine_is_not_blamed_on_a_port(host: str, port: int) -> None:
    with pytest.raises(ConfigError) as caught:
        fleet_of(host=host, controller_port=port)
    said = str(caught.value)
    assert said.startswith(f"up.host: cannot listen on {host} (")
    assert "give an address of this machine with --host or DIFFSERVE_UP_HOST" in said
    assert "port" not in said


def test_free_ports_are_not_those_of_outgoing_connections() -> None:
    ports = {free_port() for _ in range(50)}
    assert ports <= set(LISTENING_PORTS)
    assert len(ports) > 40


def test_no_two_services_are_given_one_free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens yet, so a port looks free again and again."""
    monkeypatch.setattr("diffserve.telemetry.server.LISTENING_PORTS", LISTENING_PORTS[:60])
    for _ in range(5):
        children = fleet_of(num_workers=6).children()
        addresses = {child.address for child in children}
        metrics = {child.metrics for child in children if child.metrics}
        assert len(addresses) == len(children) == 10
        assert len(addresses | metrics) == 10 + 9, "each but Redis has a port for metrics"
