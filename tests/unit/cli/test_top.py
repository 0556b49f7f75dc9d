"""The live view, one page at a time."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from diffserve.cli.output import console_on
from diffserve.cli.top import Window, frame, sparkline
from diffserve.rpc.v1 import admin_pb2, admin_pb2_grpc
from diffserve.telemetry.server import free_port
from tests.unit.cli.test_status import full_status


def at(*samples: tuple[float, dict[str, int]]) -> tuple[admin_pb2.Status, Window]:
    window, status = Window(), full_status()
    for now_s, outcomes in samples:
        status = full_status()
        status.cascades[0].outcomes.clear()
        status.cascades[0].outcomes.update(outcomes)
        window.add(now_s, status)
    return status, window


def text_of(status: admin_pb2.Status, window: Window) -> str:
    stream = io.StringIO()
    console_on(stream).print(frame(status, window))
    return " ".join(stream.getvalue().split())


def test_one_frame_has_everything() -> None:
    status, window = at((0.0, {"light": 6, "heavy": 2, "expired": 2}))
    status.cascades[0].pinned_share = 0.25
    status.plan.cascades[0].pinned = True
    status.cascades[0].slo_is_set = True
    text = text_of(status, window)
    for part in ("plan 7", "1.50 qps", "w-0", "80 %", "25 % pinned", "4.0 s set", "since start"):
        assert part in text


def test_recent_figures_are_those_of_the_window() -> None:
    status, window = at((0.0, {"light": 90, "expired": 10}), (10.0, {"light": 95, "expired": 10}))
    assert window.recent("c") == {"light": 5, "expired": 0}
    assert "last 10 s" in text_of(status, window)
    assert window.recent("nosuch") == {}


def test_old_samples_are_dropped_and_restarts_start_over() -> None:
    _, window = at((0.0, {"light": 1}), (20.0, {"light": 2}), (45.0, {"light": 7}))
    assert window.length_s == 25.0
    assert window.recent("c") == {"light": 5}
    _, window = at((0.0, {"light": 100}), (1.0, {"light": 3}))
    assert window.recent("c") == {"light": 3}


def test_sparkline_is_relative_to_its_largest() -> None:
    assert sparkline([0.0, 7.0]) == "▁█"
    assert sparkline([0.0, 0.0]) == ""
    assert len(sparkline([1.0] * 50)) == 20


@contextlib.contextmanager
def controller() -> Iterator[str]:
    class Admin(admin_pb2_grpc.AdminServicer):
        def GetStatus(self, request: Any, context: Any) -> admin_pb2.Status:
            return full_status()

    server = grpc.server(ThreadPoolExecutor(1))
    admin_pb2_grpc.add_AdminServicer_to_server(Admin(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


def test_without_a_terminal_there_is_one_page() -> None:
    with controller() as address:
        done = subprocess.run(
            [sys.executable, "-m", "diffserve.cli.main", "top", "--address", address],
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert done.returncode == 0
    assert "plan 7" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


def test_q_quits_on_a_plain_terminal_even_without_a_controller() -> None:
    outer, inner = pty.openpty()
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "diffserve.cli.main", "top", "--address", address],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env={**os.environ, "TERM": "vt100"},
    )
    os.close(inner)
    seen = b""
    try:
        while b"no controller answers" not in seen:
            seen += os.read(outer, 4096)
        os.write(outer, b"xq")
        # The terminal must be drained, or the program could not end.
        while process.poll() is None:
            try:
                os.read(outer, 4096)
            except OSError:
                break
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
        os.close(outer)
