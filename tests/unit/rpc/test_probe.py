"""The health probe against a real health server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from diffserve.rpc.probe import main, probe


@pytest.fixture
def served() -> Iterator[tuple[str, health.HealthServicer]]:
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", servicer
    server.stop(None).wait()


def test_serving_exits_with_0(
    served: tuple[str, health.HealthServicer], capsys: pytest.CaptureFixture[str]
) -> None:
    address, servicer = served
    servicer.set("a.Service", health_pb2.HealthCheckResponse.SERVING)
    assert main([address]) == 0
    assert main([address, "a.Service"]) == 0
    assert capsys.readouterr().out == "SERVING\nSERVING\n"


def test_not_serving_exits_with_1(served: tuple[str, health.HealthServicer]) -> None:
    address, servicer = served
    servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert probe(address) == "NOT_SERVING"
    assert main([address]) == 1


def test_unknown_service_and_dead_address_name_the_status(
    served: tuple[str, health.HealthServicer],
) -> None:
    address, _ = served
    assert probe(address, "no.Such") == "NOT_FOUND"
    assert probe("127.0.0.1:1", timeout_s=1.0) in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


def test_wrong_usage_says_how(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "HOST:PORT" in capsys.readouterr().err
