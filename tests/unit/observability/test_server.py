"""``/metrics`` on a port of its own."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from diffserve.errors import ConfigError
from diffserve.observability.instruments import CONTENT_TYPE
from diffserve.observability.server import metrics_server
from diffserve.telemetry.server import free_port


async def test_it_answers_get_and_head_of_metrics_only() -> None:
    port = free_port()
    async with (
        metrics_server("127.0.0.1", port, lambda: b"a 1\n"),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        got = await client.get("/metrics?name=x")
        assert (got.status_code, got.content) == (200, b"a 1\n")
        assert got.headers["content-type"] == CONTENT_TYPE
        assert (await client.head("/metrics")).content == b""
        assert (await client.get("/")).status_code == 404
        assert (await client.post("/metrics")).status_code == 404


async def test_rubbish_closes_the_connection_and_nothing_else() -> None:
    port = free_port()
    async with metrics_server("127.0.0.1", port, lambda: b"a 1\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01" + b"x" * 100_000 + b"\r\n\r\n")
        writer.write_eof()
        await reader.read()
        writer.close()
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/metrics")).status_code == 200


async def test_a_port_that_is_taken_is_named() -> None:
    port = free_port()
    async with metrics_server("127.0.0.1", port, lambda: b""):
        with pytest.raises(ConfigError, match=r"metrics_port: cannot listen on 127.0.0.1:\d+"):
            async with metrics_server("127.0.0.1", port, lambda: b""):
                raise AssertionError("two servers on one port")


async def test_port_0_means_none() -> None:
    async with metrics_server("127.0.0.1", 0, lambda: b""):
        pass
