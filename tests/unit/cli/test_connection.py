"""Where commands connect to, and what they say about gRPC errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from diffserve.cli.connection import (
    admin,
    connected,
    controller_address,
    explain_error,
    loadbalancer_address,
)
from diffserve.cli.output import CliError
from diffserve.client import Client
from diffserve.errors import DiffServeError, InputError, OverloadedError
from diffserve.rpc.status import to_status
from diffserve.rpc.v1 import admin_pb2, admin_pb2_grpc


class Refusing(admin_pb2_grpc.AdminServicer):
    """Answers every status call with the error that the test sets."""

    error: DiffServeError | tuple[grpc.StatusCode, str]

    def GetStatus(self, request: Any, context: Any) -> Any:
        if isinstance(self.error, DiffServeError):
            context.abort_with_status(rpc_status.to_status(to_status(self.error)))
        context.abort(*self.error)


@pytest.fixture
def refusing() -> Iterator[tuple[Refusing, str]]:
    servicer = Refusing()
    server = grpc.server(futures.ThreadPoolExecutor(1))
    admin_pb2_grpc.add_AdminServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.mark.parametrize(
    ("error", "exit_code", "sentence"),
    [
        (InputError("width", "must be 8 to 2048"), 2, "width: must be 8 to 2048"),
        (
            OverloadedError("queue is full", predicted_wait_s=3.0, retry_after_s=1.5),
            1,
            "queue is full (try again in 1.5 s)",
        ),
        ((grpc.StatusCode.UNAVAILABLE, "no worker serves it"), 1, "no worker serves it"),
        ((grpc.StatusCode.NOT_FOUND, "no such plan"), 1, "no such plan"),
        ((grpc.StatusCode.INTERNAL, ""), 1, "internal"),
        ((grpc.StatusCode.DEADLINE_EXCEEDED, "it was late"), 1, "in time from the controller"),
    ],
)
def test_errors_become_sentences(
    refusing: tuple[Refusing, str], error: Any, exit_code: int, sentence: str
) -> None:
    servicer, address = refusing
    servicer.error = error
    with pytest.raises(CliError) as caught, connected(address, "controller") as channel:
        admin_pb2_grpc.AdminStub(channel).GetStatus(admin_pb2.GetStatusRequest(), timeout=10.0)
    assert caught.value.exit_code == exit_code
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@contextlib.contextmanager
def other(*names: str) -> Iterator[str]:
    """Serve no methods but the health of some services, as another service would."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    servicer = health.HealthServicer()
    for name in names:
        servicer.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@pytest.mark.parametrize(
    ("names", "who"),
    [
        (("diffserve.rpc.v1.ImageGeneration",), "a load balancer answers at {}, not a controller"),
        (("diffserve.rpc.v1.Worker",), "a worker answers at {}, not a controller"),
        (("diffserve.rpc.v1.Discriminator",), "a discriminator answers at {}, not a controller"),
        ((), "what answers at {} is no controller"),
    ],
)
def test_a_wrong_address_is_told_with_the_right_one(
    monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], who: str
) -> None:
    monkeypatch.setenv("DIFFSERVE_UP_CONTROLLER_PORT", "9")
    with other(*names) as address, pytest.raises(CliError) as caught, admin(address) as stub:
        stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=10.0)
    assert str(caught.value) == (
        f"{who.format(address)}; by the settings that is at 127.0.0.1:9, see --address"
    )
    assert caught.value.exit_code == 2


def test_a_controller_of_another_version_is_none_of_another_place() -> None:
    names = ("diffserve.rpc.v1.Controller", "diffserve.rpc.v1.Admin")
    with (
        other(*names) as address,
        pytest.raises(CliError, match=f"the controller at {address} does not know this call"),
        admin(address) as stub,
    ):
        stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=10.0)


def test_a_controller_is_no_load_balancer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIFFSERVE_UP_LOADBALANCER_PORT", "8")
    names = ("diffserve.rpc.v1.Controller", "diffserve.rpc.v1.Admin")
    with other(*names) as address, Client(address) as client:
        with pytest.raises(DiffServeError) as caught:
            client.generate("an owl")
        said = str(explain_error(caught.value, address, "load balancer"))
    assert said == (
        f"a controller answers at {address}, not a load balancer; by the settings that is at "
        "127.0.0.1:8, see --address"
    )


@pytest.mark.parametrize(
    ("environ", "loadbalancer", "controller"),
    [
        ({}, "127.0.0.1:50051", "127.0.0.1:50050"),
        ({"DIFFSERVE_LOADBALANCER_PORT": "7"}, "127.0.0.1:7", "127.0.0.1:50050"),
        ({"DIFFSERVE_UP_LOADBALANCER_PORT": "8"}, "127.0.0.1:8", "127.0.0.1:50050"),
        ({"DIFFSERVE_UP_CONTROLLER_PORT": "9"}, "127.0.0.1:50051", "127.0.0.1:9"),
        ({"DIFFSERVE_CONTROLLER_ADDRESS": "far:1"}, "127.0.0.1:50051", "far:1"),
    ],
)
def test_addresses_follow_the_settings(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], loadbalancer: str, controller: str
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert loadbalancer_address("") == loadbalancer
    assert controller_address("") == controller
    assert loadbalancer_address("given:1") == controller_address("given:1") == "given:1"
