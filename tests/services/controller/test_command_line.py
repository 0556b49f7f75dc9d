"""The service as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from diffserve import logs
from diffserve.rpc.server import run
from diffserve.rpc.v1 import admin_pb2, admin_pb2_grpc
from diffserve.telemetry.server import free_port
from services.controller.__main__ import main

ROOT = Path(__file__).parents[3]


def start(*flags: str) -> subprocess.Popen[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("DIFFSERVE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "services.controller", "--catalog=mock", *flags],
        cwd=ROOT,
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_serves_and_stops_in_order(redis_url: str) -> None:
    port = free_port()
    process = start(f"--redis-url={redis_url}", f"--port={port}", "--solver=enumeration")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=20)
        check = health_pb2_grpc.HealthStub(channel).Check
        request = health_pb2.HealthCheckRequest(service="diffserve.rpc.v1.Controller")
        deadline_s = time.monotonic() + 10
        while check(request, timeout=5).status != health_pb2.HealthCheckResponse.SERVING:
            assert time.monotonic() < deadline_s
        status = admin_pb2_grpc.AdminStub(channel).GetStatus(
            admin_pb2.GetStatusRequest(), timeout=5
        )
        assert status.redis_connected
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_without_redis_it_says_what_is_missing() -> None:
    process = start()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert "controller.redis_url" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("flag", "named"),
    [
        ("--redis-url=http://x", "redis_url"),
        ("--catalog=none", "catalog"),
        ("--lease-s=-1", "lease_s"),
        ("--solver=guess", "solver"),
    ],
)
def test_a_wrong_setting_ends_it_with_one_line_naming_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, flag: str, named: str
) -> None:
    monkeypatch.setattr(logs, "setup", lambda *_: None)
    monkeypatch.setattr(
        sys, "argv", ["controller", "--redis-url=redis://127.0.0.1:1", "--catalog=mock", flag]
    )
    assert run(main) == 2
    (record,) = caplog.records
    assert named in record.getMessage()
    assert record.exc_info is None
