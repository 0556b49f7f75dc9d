"""Calls that share a stream: each has its own end, whatever becomes of the stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from diffserve.client import AsyncClient, DeadlineError, DiffServeError, Retries, UnavailableError
from diffserve.client import asynchronous as client_module
from diffserve.errors import InputError
from diffserve.telemetry.server import free_port
from tests.unit.client.server import Server, running

WAIT_S = 5.0
FAST = Retries(pause_s=0.01)


@contextlib.asynccontextmanager
async def connected(server: Server, retries: Retries = FAST) -> AsyncIterator[AsyncClient]:
    async with running(server) as address, AsyncClient(address, retries=retries) as client:
        yield client


async def waiting(client: AsyncClient, server: Server) -> asyncio.Task[object]:
    """Return a call that the server has and does not answer."""
    server.was_asked.clear()
    call: asyncio.Task[object] = asyncio.create_task(client.generate("an owl"))
    async with asyncio.timeout(WAIT_S):
        await server.was_asked.wait()
    return call


async def test_calls_share_one_stream() -> None:
    server = Server()
    async with connected(server) as client:
        images = await asyncio.gather(*(client.generate(f"{i} owls") for i in range(20)))
    assert [image.data for image in images] == [b"image"] * 20
    assert sorted(r.parameters.prompt for r in server.requests) == sorted(
        f"{i} owls" for i in range(20)
    )
    assert len(server.streams) == 1


async def test_an_error_is_that_of_its_own_call() -> None:
    server = Server(InputError("parameters.width", "too large"))
    async with connected(server) as client:
        outcomes = await asyncio.gather(
            *(client.generate("an owl") for _ in range(3)), return_exceptions=True
        )
    failures = [outcome for outcome in outcomes if isinstance(outcome, DiffServeError)]
    assert [str(failure) for failure in failures] == ["parameters.width: too large"]


async def test_leaving_is_told_to_the_server() -> None:
    server = Server(hangs=True)
    async with connected(server) as client:
        first, second = await waiting(client, server), await waiting(client, server)
        first.cancel()
        async with asyncio.timeout(WAIT_S):
            await server.was_cancelled.wait()
        assert server.left == [1]
        assert not second.done()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


async def test_no_answer_in_time_is_a_deadline_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CALL_MARGIN_S", 0.05)
    server = Server(hangs=True)
    async with connected(server) as client:
        with pytest.raises(DeadlineError, match="no answer within"):
            await client.generate("an owl", deadline_s=0.05)
        async with asyncio.timeout(WAIT_S):
            await server.was_cancelled.wait()


async def test_calls_of_a_broken_stream_are_made_again_under_their_ids() -> None:
    server, other, port = Server(hangs=True), Server(), free_port()
    patient = Retries(num_max=10, pause_s=0.02)
    async with AsyncClient(f"127.0.0.1:{port}", retries=patient) as client:
        async with running(server, port):
            calls = [await waiting(client, server) for _ in range(2)]
        async with running(other, port), asyncio.timeout(WAIT_S):
            await asyncio.gather(*calls)
    assert {r.query_id for r in other.requests} == {r.query_id for r in server.requests}
    assert len(server.requests) == len(other.requests) == 2


async def test_a_stream_that_stays_broken_is_an_unavailable_error() -> None:
    server, port = Server(hangs=True), free_port()
    async with AsyncClient(f"127.0.0.1:{port}", retries=Retries(num_max=0)) as client:
        async with running(server, port):
            call = await waiting(client, server)
        with pytest.raises(UnavailableError):
            await call


async def test_a_closed_client_leaves_nobody_waiting() -> None:
    server = Server(hangs=True)
    async with connected(server, Retries(num_max=0)) as client:
        call = await waiting(client, server)
        await client.close()
        with pytest.raises(DiffServeError, match="closed"):
            await call
