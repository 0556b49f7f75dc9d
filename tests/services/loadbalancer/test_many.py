"""Many calls on one stream: each as a ``Generate`` of its own, none for the others to suffer by."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import grpc
import pytest

from diffserve.errors import AlreadyExistsError, DiffServeError, InputError, UnavailableError
from diffserve.rpc.status import from_bytes
from diffserve.rpc.streams import split
from diffserve.rpc.v1 import common_pb2, generation_pb2
from tests.services.loadbalancer.cluster import Cluster, running_cluster

WAIT_S = 10.0
Request = generation_pb2.GenerateManyRequest
Reply = generation_pb2.GenerateManyResponse


def begin(call_id: int, prompt: str = "an owl 0.9", **fields: Any) -> Request:
    parameters = common_pb2.GenerationParameters(prompt=prompt)
    asked = generation_pb2.GenerateRequest(parameters=parameters, **fields)
    return Request(call_id=call_id, begin=asked)


def leave(call_id: int) -> Request:
    return Request(call_id=call_id, leave=generation_pb2.CallLeft())


async def answers(cluster: Cluster, requests: Iterable[Request]) -> list[Reply]:
    """Return what comes until every call is over, as it comes."""
    call = cluster.stub.GenerateMany()
    for request in requests:
        await call.write(request)
    await call.done_writing()
    async with asyncio.timeout(WAIT_S):
        return [reply async for message in call for reply in split(message)]


def error_of(reply: Reply) -> DiffServeError:
    assert reply.WhichOneof("result") == "status", reply
    return from_bytes(reply.status)[1]


async def executed(cluster: Cluster, worker_id: str, num_batches: int = 1) -> None:
    async with asyncio.timeout(WAIT_S):
        while len(cluster.workers[worker_id].executed) < num_batches:
            await asyncio.sleep(0.005)


async def ended(cluster: Cluster, query_id: str) -> int:
    """Return how a query ended, once it has."""
    async with asyncio.timeout(WAIT_S):
        while True:
            record = await cluster.stub.GetQuery(generation_pb2.GetQueryRequest(query_id=query_id))
            if record.phase == "done":
                return record.outcome
            await asyncio.sleep(0.005)


async def test_answers_come_as_they_are_ready() -> None:
    async with running_cluster() as cluster:
        replies = await answers(cluster, [begin(7, "two owls 0.1"), begin(9)])
    assert [reply.call_id for reply in replies] == [9, 7]
    images = {reply.call_id: reply.response.image.data for reply in replies}
    assert images == {7: b"heavy:two owls 0.1", 9: b"light:an owl 0.9"}


async def test_several_images_are_one_answer() -> None:
    async with running_cluster() as cluster:
        (reply,) = await answers(cluster, [begin(1, n=3)])
    assert len(reply.response.others) == 2


async def test_an_error_is_the_status_of_its_call() -> None:
    async with running_cluster() as cluster:
        requests = [begin(1, ""), begin(2), begin(3, "an owl fails 0.9")]
        replies = {reply.call_id: reply for reply in await answers(cluster, requests)}
    error = error_of(replies[1])
    assert isinstance(error, InputError)
    assert error.field == "parameters.prompt"
    assert replies[2].response.image.data == b"light:an owl 0.9"
    assert from_bytes(replies[3].status)[0] is grpc.StatusCode.INTERNAL


async def test_a_message_may_say_several_things() -> None:
    async with running_cluster() as cluster:
        message = begin(1)
        message.also.extend([begin(2), begin(3)])
        message.also[1].also.append(begin(4))  # against the rules; but nothing is lost
        replies = await answers(cluster, [message])
    assert sorted(reply.call_id for reply in replies) == [1, 2, 3, 4]


async def test_who_leaves_is_cancelled_and_has_no_answer() -> None:
    async with running_cluster() as cluster:
        cluster.workers["w1"].light_s = 60.0
        call = cluster.stub.GenerateMany()
        await call.write(begin(1, query_id="mine"))
        await executed(cluster, "w1")
        await call.write(leave(1))
        await call.write(leave(5))  # nobody: it was answered, say
        assert await ended(cluster, "mine") == common_pb2.OUTCOME_CANCELLED
        await call.done_writing()
        async with asyncio.timeout(WAIT_S):
            assert await call.read() is grpc.aio.EOF
        assert cluster.workers["w1"].aborted == {"mine"}


async def test_a_stream_that_breaks_is_everybody_leaving() -> None:
    async with running_cluster() as cluster:
        cluster.workers["w1"].light_s = 60.0
        call = cluster.stub.GenerateMany()
        for call_id in (1, 2):
            await call.write(begin(call_id, query_id=f"q{call_id}"))
        await executed(cluster, "w1")
        call.cancel()
        for query_id in ("q1", "q2"):
            assert await ended(cluster, query_id) == common_pb2.OUTCOME_CANCELLED


async def test_numbers_are_free_again_once_their_call_is_over() -> None:
    async with running_cluster() as cluster:
        call = cluster.stub.GenerateMany()
        for _ in range(2):
            await call.write(begin(1))
            async with asyncio.timeout(WAIT_S):
                reply = await call.read()
            assert reply.response.image.data  # type: ignore[union-attr]  # it is no EOF
        await call.done_writing()


@pytest.mark.parametrize(
    ("field", "requests"),
    [("call_id", [begin(1), begin(1)]), ("call", [Request(call_id=1)])],
)
async def test_what_is_no_call_is_refused_by_name(field: str, requests: list[Request]) -> None:
    async with running_cluster() as cluster:
        replies = await answers(cluster, requests)
    errors = [error_of(reply) for reply in replies if reply.status]
    assert len(replies) == len(requests)
    assert [error.field for error in errors if isinstance(error, InputError)] == [field]


async def test_an_id_is_one_query_whichever_way_it_is_asked_for() -> None:
    async with running_cluster() as cluster:
        single = begin(1, query_id="mine").begin
        first, (again, other) = await asyncio.gather(
            cluster.stub.Generate(single),
            answers(cluster, [begin(1, query_id="mine"), begin(2, "a cat 0.9", query_id="mine")]),
        )
        by_call = {reply.call_id: reply for reply in (again, other)}
    assert by_call[1].response.seed == first.seed
    assert isinstance(error_of(by_call[2]), AlreadyExistsError)
    assert len(cluster.workers["w1"].executed) == 1


async def test_deadlines_count() -> None:
    async with running_cluster() as cluster:
        cluster.workers["w1"].light_s = 60.0
        call = cluster.stub.GenerateMany(timeout=60.0)
        await call.write(begin(1, deadline_s=0.3))
        async with asyncio.timeout(WAIT_S):
            reply = await call.read()
        assert isinstance(reply, Reply)
        assert from_bytes(reply.status)[0] is grpc.StatusCode.DEADLINE_EXCEEDED
        call.cancel()


async def test_drain_answers_what_was_accepted_and_refuses_the_rest_on_the_same_stream() -> None:
    async with running_cluster() as cluster:
        cluster.workers["w1"].light_s = 0.3
        call = cluster.stub.GenerateMany()
        await call.write(begin(1))
        await executed(cluster, "w1")
        draining = asyncio.create_task(cluster.application.drain())
        await asyncio.sleep(0.05)
        await call.write(begin(2))
        await call.done_writing()
        async with asyncio.timeout(WAIT_S):
            replies = [reply async for message in call for reply in split(message)]
            await draining
    assert [reply.call_id for reply in replies] == [2, 1]
    assert isinstance(error_of(replies[0]), UnavailableError)
    assert replies[1].response.outcome == common_pb2.OUTCOME_LIGHT


async def test_a_fault_of_ours_is_the_answer_of_its_call(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_cluster() as cluster:
        submit = cluster.application.dispatcher.submit

        def faulty(live: Any) -> None:
            if "fault" in live.parameters.prompt:
                raise ValueError("a fault of ours")
            submit(live)

        monkeypatch.setattr(cluster.application.dispatcher, "submit", faulty)
        replies = await answers(cluster, [begin(1, "a fault 0.9"), begin(2)])
    by_call = {reply.call_id: reply for reply in replies}
    assert from_bytes(by_call[1].status)[0] is grpc.StatusCode.INTERNAL
    assert by_call[2].response.image.data
    assert "a fault of ours" in caplog.text
