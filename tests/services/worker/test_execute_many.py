"""Batches on an open stream: named events, refusals in place, nothing runs for a lost caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from diffserve.catalog import Catalog
from diffserve.errors import ConfigError, InputError
from diffserve.rpc.status import from_bytes
from diffserve.rpc.v1 import worker_pb2
from services.worker import answers
from tests.services.worker.harness import mock_catalog, request, running_worker

WAIT_S = 10.0


@pytest.fixture
def catalog() -> Catalog:
    return mock_catalog({"v-fast": 0.02, "v-slow": 0.5})


def numbered(batch_id: int, *query: str, variant_id: str = "v-fast") -> worker_pb2.ExecuteRequest:
    asked = request(variant_id, *query)
    asked.batch_id = batch_id
    return asked


async def flat(
    call: AsyncIterator[worker_pb2.ExecuteEvent],
) -> AsyncIterator[worker_pb2.ExecuteEvent]:
    async for message in call:
        for event in (message, *message.also):
            if not event.batch_id:
                event.batch_id = message.batch_id
            yield event


async def test_every_batch_has_its_events_and_one_end(catalog: Catalog) -> None:
    async with running_worker(catalog) as worker:
        call = worker.stub.ExecuteMany()
        await call.write(numbered(7, "a", variant_id="v-slow"))
        await call.write(numbered(8, "b", "c"))
        await call.done_writing()
        async with asyncio.timeout(WAIT_S):
            events = [event async for event in flat(call)]
    for batch_id, query_ids in ((7, ["a"]), (8, ["b", "c"])):
        own = [event for event in events if event.batch_id == batch_id]
        kinds = [event.WhichOneof("event") for event in own]
        assert kinds == ["started", "released", *["result"] * len(query_ids), "ended"]
        assert sorted(e.result.query_id for e in own if e.HasField("result")) == query_ids
        assert not own[-1].ended.status


async def test_a_refused_batch_disturbs_no_other(catalog: Catalog) -> None:
    async with running_worker(catalog) as worker:
        call = worker.stub.ExecuteMany()
        await call.write(numbered(1, "a", variant_id="no-such"))
        await call.write(numbered(2, "b", variant_id="v-slow"))
        await call.write(numbered(3, "c"))
        await call.write(numbered(4, "d"))  # one runs and one is staged
        await call.done_writing()
        async with asyncio.timeout(WAIT_S):
            ends = {e.batch_id: e.ended.status async for e in flat(call) if e.HasField("ended")}
    code, error = from_bytes(ends[1])
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(error, InputError)
    assert error.field == "variant_id"
    assert from_bytes(ends[4])[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert not ends[2]
    assert not ends[3]


async def test_a_broken_stream_stops_its_batches(catalog: Catalog) -> None:
    async with running_worker(catalog) as worker:
        executor = worker.application.executor
        call = worker.stub.ExecuteMany()
        await call.write(numbered(1, "a", variant_id="v-slow"))
        await anext(flat(call))
        assert executor.num_accepted == 1
        call.cancel()
        async with asyncio.timeout(WAIT_S):
            while executor.num_accepted:
                await asyncio.sleep(0.01)
        # The device is free for others.
        again = worker.stub.ExecuteMany()
        await again.write(numbered(2, "b"))
        await again.done_writing()
        async with asyncio.timeout(WAIT_S):
            kinds = [event.WhichOneof("event") async for event in flat(again)]
    assert kinds[-1] == "ended"


async def test_a_draining_worker_says_so_in_its_place(catalog: Catalog) -> None:
    async with running_worker(catalog) as worker:
        call = worker.stub.ExecuteMany()
        worker.application.executor.is_draining = True
        await call.write(numbered(1, "a"))
        await call.done_writing()
        async with asyncio.timeout(WAIT_S):
            (event,) = [event async for event in flat(call)]
    code, error = from_bytes(event.ended.status)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert not isinstance(error, ConfigError)
    assert "draining" in str(error)


async def test_the_first_small_images_leave_while_others_are_encoded(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = answers._encode

    def slowly(picture: Any) -> Any:
        time.sleep(0.002)
        return encode(picture)

    monkeypatch.setattr(answers, "_encode", slowly)
    async with running_worker(catalog) as worker:
        call = worker.stub.ExecuteMany()
        await call.write(numbered(1, *"abcd"))
        await call.done_writing()
        messages = [message async for message in call]
    groups = [
        sum(event.HasField("result") for event in (message, *message.also)) for message in messages
    ]
    assert sum(groups) == 4
    assert max(groups) < 4
