"""Fixtures for the whole suite: a real Redis-protocol server."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import redis

from diffserve.telemetry.server import free_port, start_server


@dataclass(frozen=True)
class RedisServer:
    """A server of this test session; tests may stop (SIGSTOP) and continue its process."""

    url: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    port = free_port()
    process = start_server(port, tmp_path_factory.mktemp("redis"))
    yield RedisServer(url=f"redis://127.0.0.1:{port}/0", process=process)
    process.terminate()
    process.wait(timeout=10)


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Iterator[str]:
    """The URL of the session's server, empty at the start of each test."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    yield redis_server.url
