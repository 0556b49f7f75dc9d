"""Several images per call, repeated calls, priorities, tenants and step progress at the door."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from diffserve.rpc.v1 import common_pb2, generation_pb2, generation_pb2_grpc
from tests.services.loadbalancer.cluster import Cluster, running_cluster


def request(prompt: str = "an owl 0.9", seed: int | None = None, **fields: Any) -> Any:
    parameters = common_pb2.GenerationParameters(prompt=prompt, seed=seed)
    return generation_pb2.GenerateRequest(parameters=parameters, **fields)


async def error_of(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def executed(cluster: Cluster) -> list[str]:
    return [i for w in cluster.workers.values() for _, ids in w.executed for i in ids]


async def test_several_images_are_queries_of_their_own_and_come_in_order() -> None:
    async with running_cluster() as cluster:
        answer = await cluster.stub.Generate(request(seed=40, n=3, query_id="set"))
        answers = [answer, *answer.others]
        assert [a.query_id for a in answers] == ["set-0", "set-1", "set-2"]
        assert [a.seed for a in answers] == [40, 41, 42]
        assert all(a.image.data and not a.others for a in answers[1:])
        free = await cluster.stub.Generate(request(n=2))
        assert free.seed != free.others[0].seed


async def test_images_of_one_call_share_a_batch_on_a_lone_worker_and_spread_over_several() -> None:
    async with running_cluster(num_workers=1) as cluster:
        await cluster.stub.Generate(request(n=4))
        assert [len(ids) for _, ids in cluster.workers["w1"].executed] == [4]
        await cluster.start_worker("w2")
        await cluster.plan({"w1": "mock-light", "w2": "mock-light"}, plan_id=2)
        pool = cluster.application.balancer.pool("mock-light")
        while len(pool.members) < 2:
            await asyncio.sleep(0.005)
        await cluster.stub.Generate(request(n=4))
        assert [len(ids) for _, ids in cluster.workers["w1"].executed[1:]] == [2]
        assert [len(ids) for _, ids in cluster.workers["w2"].executed] == [2]


async def test_a_stream_of_several_images_ends_after_the_last_one() -> None:
    async with running_cluster() as cluster:
        events = [e async for e in cluster.stub.GenerateStream(request(n=3, query_id="set"))]
        assert sorted(e.index for e in events if e.HasField("done")) == [0, 1, 2]
        assert events[-1].HasField("done")
        assert all(e.query_id == f"set-{e.index}" for e in events)


async def test_one_failing_image_cancels_the_others_and_fails_the_call() -> None:
    async with running_cluster(queue_length_max=1) as cluster:
        cluster.workers["w1"].light_s = 0.2
        error = await error_of(cluster.stub.Generate(request(n=10)))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        events: list[generation_pb2.GenerateEvent] = []
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for event in cluster.stub.GenerateStream(request(n=10)):
                events.append(event)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not any(event.HasField("done") for event in events)
        await asyncio.sleep(0.5)
        assert len(executed(cluster)) <= 2, "the first of each call may have started"
        assert cluster.application.balancer.ledger.num_in_progress("mock") == 0


async def test_four_answers_of_a_large_image_each_fit_one_message() -> None:
    async with running_cluster() as cluster:
        cluster.workers["w1"].num_image_bytes = 1_600_000
        answer = await cluster.stub.Generate(request(n=4))
        assert answer.ByteSize() > 4 * 1_600_000
        address = f"127.0.0.1:{cluster.port}"
        async with grpc.aio.insecure_channel(address) as channel:  # 4 MiB per message at most
            stub = generation_pb2_grpc.ImageGenerationStub(channel)
            events = [event async for event in stub.GenerateStream(request(n=4))]
        assert sum(event.HasField("done") for event in events) == 4


async def test_a_repeated_call_waits_for_the_running_query() -> None:
    async with running_cluster() as cluster:
        cluster.workers["w1"].light_s = 0.2
        first = cluster.stub.Generate(request(query_id="mine"))
        await asyncio.sleep(0.05)
        second = cluster.stub.Generate(request(query_id="mine", deadline_s=3.0))
        stream = cluster.stub.GenerateStream(request(query_id="mine"))
        one, other = await asyncio.gather(first, second)
        events = [event async for event in stream]
        assert one == other == events[-1].done
        assert executed(cluster) == ["mine"]


async def test_a_query_is_cancelled_when_the_last_of_its_callers_leaves() -> None:
    async with running_cluster() as cluster:
        cluster.workers["w1"].light_s = 0.2
        calls = [cluster.stub.Generate(request(query_id="mine")) for _ in range(2)]
        await asyncio.sleep(0.05)
        calls[0].cancel()
        assert (await calls[1]).query_id == "mine"
        calls = [cluster.stub.Generate(request(query_id="other")) for _ in range(2)]
        await asyncio.sleep(0.05)
        for call in calls:
            call.cancel()
        await asyncio.sleep(0.05)
        record = await cluster.stub.GetQuery(generation_pb2.GetQueryRequest(query_id="other"))
        assert record.outcome == common_pb2.OUTCOME_CANCELLED
        assert (await cluster.stub.Generate(request(query_id="other"))).query_id == "other"


async def test_a_remembered_answer_is_given_again_by_both_calls() -> None:
    async with running_cluster() as cluster:
        for prompt in ("an owl 0.9", "an owl 0.1"):
            wanted = request(prompt, query_id=f"id-{prompt[-1]}")
            answer = await cluster.stub.Generate(wanted)
            assert await cluster.stub.Generate(wanted) == answer
            events = [event async for event in cluster.stub.GenerateStream(wanted)]
            assert [event.done for event in events] == [answer]
        assert len(executed(cluster)) == 3, "light, light and heavy"


async def test_another_request_under_a_known_id_is_refused_and_says_why() -> None:
    async with running_cluster() as cluster:
        await cluster.stub.Generate(request(query_id="mine"))
        for other, field in (
            (request("a cat 0.9", query_id="mine"), "parameters.prompt"),
            (request(seed=0, query_id="mine"), "parameters.seed"),
            (request(tenant="x", query_id="mine"), "tenant"),
        ):
            error = await error_of(cluster.stub.Generate(other))
            assert error.code() is grpc.StatusCode.ALREADY_EXISTS
            assert field in (error.details() or "")


@pytest.mark.parametrize(("first", "second"), [(0, 2), (1, 2), (2, 1), (2, 0), (3, 2), (2, 3)])
async def test_another_number_of_images_under_a_known_id_is_refused(
    first: int, second: int
) -> None:
    async with running_cluster() as cluster:
        await cluster.stub.Generate(request(query_id="mine", n=first))
        num_executed = len(executed(cluster))
        error = await error_of(cluster.stub.Generate(request(query_id="mine", n=second)))
        assert error.code() is grpc.StatusCode.ALREADY_EXISTS
        assert error.details() == "query_id: mine belongs to a request with another n"
        assert len(executed(cluster)) == num_executed


async def test_one_image_is_the_same_request_whether_it_is_said_or_not() -> None:
    async with running_cluster() as cluster:
        answer = await cluster.stub.Generate(request(query_id="mine"))
        assert await cluster.stub.Generate(request(query_id="mine", n=1)) == answer


async def test_ids_that_end_like_those_of_a_set_are_free() -> None:
    async with running_cluster() as cluster:
        await cluster.stub.Generate(request(query_id="mine-0"))
        assert (await cluster.stub.Generate(request(query_id="mine"))).query_id == "mine"
        assert (await cluster.stub.Generate(request(query_id="mine-0", n=1))).image.data
    async with running_cluster(answers_bytes_max=0) as cluster:
        await cluster.stub.Generate(request(query_id="mine-0"))
        assert (await cluster.stub.Generate(request(query_id="mine"))).query_id == "mine"


async def test_forgotten_images_are_not_drawn_again_under_their_id() -> None:
    async with running_cluster(answers_bytes_max=0) as cluster:
        await cluster.stub.Generate(request(query_id="mine"))
        error = await error_of(cluster.stub.Generate(request(query_id="mine")))
        assert error.code() is grpc.StatusCode.ALREADY_EXISTS
        assert "not kept" in (error.details() or "")


async def test_a_query_that_failed_may_be_sent_again() -> None:
    async with running_cluster() as cluster:
        for _ in range(2):
            error = await error_of(cluster.stub.Generate(request("fails 0.9", query_id="mine")))
            assert error.code() is grpc.StatusCode.INTERNAL
        assert executed(cluster) == ["mine", "mine"]


async def test_streaming_clients_hear_of_steps() -> None:
    async with running_cluster() as cluster:
        cluster.workers["w1"].num_steps = 3
        events = [event async for event in cluster.stub.GenerateStream(request())]
        steps = [(e.progress.step, e.progress.num_steps) for e in events if e.HasField("progress")]
        assert steps == [(1, 3), (2, 3), (3, 3)]
        await cluster.stub.Generate(request())
        assert cluster.workers["w1"].was_asked_for_steps == [True, False]


async def test_limits_of_tenants_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    path.write_text("[default]\nrate_qps = 0.01\nburst = 2\n[vip]\nweight = 4.0\n")
    async with running_cluster(tenants=str(path)) as cluster:
        for _ in range(2):
            await cluster.stub.Generate(request(tenant="guest"))
        error = await error_of(cluster.stub.Generate(request(tenant="guest")))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = rpc_status.from_call(error).details
        retry, info = error_details_pb2.RetryInfo(), error_details_pb2.ErrorInfo()
        assert details[0].Unpack(retry)
        assert retry.retry_delay.seconds >= 90
        assert details[1].Unpack(info)
        assert info.reason == "TENANT_RATE"
        for _ in range(4):
            await cluster.stub.Generate(request(tenant="vip"))


@pytest.mark.parametrize("field", ["priority", "tenant", "n", "query_id"])
async def test_streams_carry_error_details_too(field: str) -> None:
    bad: dict[str, Any] = {"priority": 9, "tenant": "no spaces", "n": 11, "query_id": "x" * 127}
    async with running_cluster() as cluster:
        fields: dict[str, Any] = {"n": 2, field: bad[field]}
        wanted = request(**fields)
        error = await error_of(anext(aiter(cluster.stub.GenerateStream(wanted))))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        details = rpc_status.from_call(error).details
        request_at_fault, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
        assert details[0].Unpack(request_at_fault)
        assert request_at_fault.field_violations[0].field == field
        assert details[1].Unpack(info)
        assert (info.domain, info.reason) == ("diffserve", "FIELD_UNUSABLE")


async def test_seeds_that_would_run_over_are_refused() -> None:
    async with running_cluster() as cluster:
        error = await error_of(cluster.stub.Generate(request(n=2, seed=2**63 - 1)))
        assert "parameters.seed" in (error.details() or "")
