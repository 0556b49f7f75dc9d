"""The load balancer over real sockets, with scripted workers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from diffserve.catalog import load_catalog
from diffserve.core import RequestClass
from diffserve.errors import InputError
from diffserve.rpc.v1 import common_pb2, generation_pb2
from services.loadbalancer.validation import check_request
from tests.services.loadbalancer.cluster import Cluster, running_cluster

LIGHT, HEAVY = common_pb2.OUTCOME_LIGHT, common_pb2.OUTCOME_HEAVY
FALLBACK = common_pb2.OUTCOME_LIGHT_FALLBACK


def request(prompt: str = "an owl 0.9", **fields: Any) -> generation_pb2.GenerateRequest:
    parameters = fields.pop("parameters", {})
    return generation_pb2.GenerateRequest(
        parameters=common_pb2.GenerationParameters(prompt=prompt, **parameters), **fields
    )


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_confident_light_image_is_returned_with_its_story() -> None:
    async with running_cluster() as cluster:
        answer = await cluster.stub.Generate(request(parameters={"seed": 7}))
        assert answer.image.data == b"light:an owl 0.9"
        assert (answer.outcome, answer.variant_id, answer.worker_id) == (LIGHT, "mock-light", "w1")
        assert answer.confidence == answer.percentile == pytest.approx(0.9)
        assert (answer.seed, answer.plan_id, answer.cascade_id) == (7, 1, "mock")
        assert answer.times.light_execution_s == pytest.approx(0.02)
        assert 0.02 <= answer.times.total_s < 1.0
        assert "ranks at 90%" in answer.reason
        sent = cluster.workers["w1"].parameters[0]
        assert (sent.width, sent.height, sent.seed) == (64, 64, 7)


async def test_poor_light_image_is_drawn_again_by_the_heavy_variant() -> None:
    async with running_cluster() as cluster:
        answer = await cluster.stub.Generate(request("two owls 0.1"))
        assert answer.image.data == b"heavy:two owls 0.1"
        assert (answer.outcome, answer.worker_id) == (HEAVY, "w2")
        assert answer.percentile == pytest.approx(0.1)
        assert answer.times.heavy_execution_s == pytest.approx(0.1)


async def test_stream_tells_the_story_in_order_and_ends_with_the_answer() -> None:
    async with running_cluster() as cluster:
        events = [event async for event in cluster.stub.GenerateStream(request("a cat 0.2"))]
        kinds = [event.WhichOneof("event") for event in events]
        assert kinds == ["queued", "started", "preview", "queued", "started", "done"]
        assert len({event.query_id for event in events}) == 1
        assert events[2].preview.image.data == b"light:a cat 0.2"
        assert events[-1].done.image.data == b"heavy:a cat 0.2"


async def test_step_and_guidance_wishes_reach_only_the_final_variant() -> None:
    async with running_cluster() as cluster:
        wishes = {"num_inference_steps": 9, "guidance_scale": 3.0}
        await cluster.stub.Generate(request("a cat 0.2", parameters=wishes))
        light, heavy = cluster.workers["w1"].parameters[0], cluster.workers["w2"].parameters[0]
        assert (light.num_inference_steps, light.HasField("guidance_scale")) == (0, False)
        assert (heavy.num_inference_steps, heavy.guidance_scale) == (9, 3.0)


async def test_wishes_heeded_by_the_light_variant_and_not_share_no_batch() -> None:
    async with running_cluster(num_workers=1) as cluster:
        worker = cluster.workers["w1"]
        worker.gate = asyncio.Semaphore(0)
        kinds = (common_pb2.PREFERENCE_LIGHT, common_pb2.PREFERENCE_AUTO)
        asked = [
            request(f"q{i} 0.9", preference=kinds[i % 2], parameters={"num_inference_steps": 4})
            for i in range(8)
        ]
        calls = [asyncio.ensure_future(cluster.stub.Generate(one)) for one in asked]
        await asyncio.sleep(0.1)
        for _ in asked:
            worker.gate.release()
        await asyncio.gather(*calls)
        steps = iter([one.num_inference_steps for one in worker.parameters])
        batches = [{next(steps) for _ in query_ids} for _, query_ids in worker.executed]
        assert all(len(batch) == 1 for batch in batches)
        assert {step for batch in batches for step in batch} == {0, 4}
        assert max(len(query_ids) for _, query_ids in worker.executed) > 1


async def test_batches_that_ran_with_wishes_teach_nothing_of_the_variant() -> None:
    async with running_cluster(num_workers=1) as cluster:
        cluster.workers["w1"].light_s = 0.3
        before_s = cluster.application.balancer.pool("mock-light").profile.execution_s(1)
        asked = request(preference=common_pb2.PREFERENCE_LIGHT, parameters={"guidance_scale": 2.0})
        await cluster.stub.Generate(asked)
        assert cluster.application.balancer.pool("mock-light").profile.execution_s(1) == before_s
        await cluster.stub.Generate(request())
        assert cluster.application.balancer.pool("mock-light").profile.execution_s(1) > before_s


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("parameters.prompt", request("")),
        ("parameters.prompt", request("  \n")),
        ("parameters.prompt", request("x" * 1_000_000)),
        ("parameters.negative_prompt", request(parameters={"negative_prompt": "x" * 5000})),
        ("parameters.width", request(parameters={"width": 100_000, "height": 10_000})),
        ("parameters.height", request(parameters={"height": -64})),
        ("parameters.width", request(parameters={"width": 65})),
        ("parameters.guidance_scale", request(parameters={"guidance_scale": float("nan")})),
        ("parameters.guidance_scale", request(parameters={"guidance_scale": 1e9})),
        ("parameters.num_inference_steps", request(parameters={"num_inference_steps": 10**6})),
        ("parameters.seed", request(parameters={"seed": -1})),
        ("parameters.output_format", request(parameters={"output_format": "bmp"})),
        ("n", request(n=10**9)),
        ("n", request(n=-1)),
        ("cascade_id", request(cascade_id="nope")),
        ("deadline_s", request(deadline_s=-1.0)),
        ("deadline_s", request(deadline_s=float("nan"))),
        ("deadline_s", request(deadline_s=0.0)),
        ("preference", request(preference=99)),
        ("query_id", request(query_id="a b")),
    ],
)
async def test_bad_input_names_the_field(field: str, bad: generation_pb2.GenerateRequest) -> None:
    async with running_cluster(num_workers=1) as cluster:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await cluster.stub.Generate(bad)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        details = error_details_pb2.BadRequest()
        assert rpc_status.from_call(caught.value).details[0].Unpack(details)
        assert details.field_violations[0].field == field
        answer = await cluster.stub.Generate(request())
        assert answer.outcome == LIGHT


async def test_overload_is_refused_at_once_with_a_retry_hint() -> None:
    async with running_cluster(num_workers=1) as cluster:
        cluster.workers["w1"].light_s = 0.2
        for _ in range(8):  # the balancer learns that the worker is slower than profiled
            await cluster.stub.Generate(request())

        async def timed() -> tuple[str, float]:
            began_s = time.monotonic()
            try:
                await cluster.stub.Generate(request(deadline_s=1.0))
                return "answered", time.monotonic() - began_s
            except grpc.aio.AioRpcError as error:
                retry = error_details_pb2.RetryInfo()
                assert rpc_status.from_call(error).details[0].Unpack(retry)
                assert retry.retry_delay.ToMilliseconds() > 0
                return error.code().name, time.monotonic() - began_s

        results = await asyncio.gather(*(timed() for _ in range(100)))
        counts = Counter(name for name, _ in results)
        assert set(counts) == {"answered", "RESOURCE_EXHAUSTED"}
        assert counts["answered"] >= 4
        assert all(seconds <= 1.0 for name, seconds in results if name == "answered")
        refusals = sorted(s for name, s in results if name != "answered")
        assert refusals[len(refusals) // 2] < 0.25  # 100 calls share one event loop here


async def test_client_that_leaves_stops_its_work() -> None:
    async with running_cluster(num_workers=1) as cluster:
        cluster.workers["w1"].light_s = 1.0
        calls = [cluster.stub.Generate(request()) for _ in range(8)]
        await asyncio.sleep(0.3)
        for call in calls:
            call.cancel()
        await asyncio.sleep(1.2)
        assert len(cluster.workers["w1"].executed) == 1
        assert len(cluster.workers["w1"].aborted) == 1
        assert cluster.application.balancer.ledger.num_in_progress("mock") == 0


async def test_lost_worker_costs_no_query() -> None:
    async with running_cluster(num_workers=3) as cluster:
        await cluster.plan({"w1": "mock-light", "w2": "mock-light", "w3": "mock-heavy"}, plan_id=2)
        cluster.workers["w1"].light_s = cluster.workers["w2"].light_s = 0.15
        calls = [asyncio.create_task(_outcome(cluster, f"q{i} 0.9")) for i in range(12)]
        await asyncio.sleep(0.05)
        await cluster.kill_worker("w1")
        assert Counter(await asyncio.gather(*calls)) == {LIGHT: 12}
        address = cluster.addresses["w1"]
        await cluster.start_worker("w1", address)
        before = len(cluster.workers["w1"].executed)
        for _ in range(40):
            await asyncio.gather(*(_outcome(cluster, "an owl 0.9") for _ in range(8)))
            if len(cluster.workers["w1"].executed) > before:
                break
            await asyncio.sleep(0.1)
        assert len(cluster.workers["w1"].executed) > before


@pytest.mark.parametrize("drains", [True, False], ids=["drains", "hangs"])
async def test_worker_that_drains_finishes_its_batches_and_one_that_hangs_loses_them(
    drains: bool,
) -> None:
    async with running_cluster(num_workers=2) as cluster:
        await cluster.plan({"w1": "mock-light", "w2": "mock-light"}, plan_id=2)
        cluster.workers["w1"].light_s = cluster.workers["w2"].light_s = 0.5
        first = asyncio.create_task(_outcome(cluster, "an owl 0.9"))
        await asyncio.sleep(0.1)
        (busy,) = (w for w, worker in cluster.workers.items() if worker.executed)
        (other,) = set(cluster.workers) - {busy}
        cluster.workers[busy].drains = drains
        await cluster.report(busy, serving=False)
        await asyncio.sleep(0.1)
        second = asyncio.create_task(_outcome(cluster, "a cat 0.9"))
        assert [await first, await second] == [LIGHT, LIGHT]
        executed = {w: len(worker.executed) for w, worker in cluster.workers.items()}
        assert executed == {busy: 1, other: 1 if drains else 2}
        await cluster.report(busy, serving=True)
        await cluster.plan({busy: "mock-light"}, plan_id=3)
        assert await _outcome(cluster, "an owl 0.9") == LIGHT


async def test_batch_that_no_worker_would_run_takes_none_out() -> None:
    async with running_cluster(num_workers=1) as cluster:
        worker = cluster.workers["w1"]
        worker.finds_wrong = "bad"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await cluster.stub.Generate(request("bad 0.9"))
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        why = "no worker runs it: queries.0.parameters.prompt: is wrong"
        assert caught.value.details() == why
        assert "w1" in cluster.application.balancer.pool("mock-light").members
        assert await _outcome(cluster, "an owl 0.9") == LIGHT


async def test_worker_that_refuses_is_left_alone_until_it_takes_work() -> None:
    async with running_cluster(num_workers=1) as cluster:
        cluster.workers["w1"].refuses = True
        call = asyncio.create_task(_outcome(cluster, "an owl 0.9"))
        await asyncio.sleep(0.5)
        assert not call.done()
        cluster.workers["w1"].refuses = False
        assert await call == LIGHT


async def test_busy_worker_is_not_lost_and_its_refusals_are_no_tries() -> None:
    async with running_cluster(num_workers=1) as cluster:
        worker = cluster.workers["w1"]
        worker.busy_s = 0.05
        call = asyncio.create_task(_outcome(cluster, "an owl 0.9"))
        await asyncio.sleep(0.5)
        assert not call.done()
        assert 2 < worker.num_busy < 20
        pool = cluster.application.balancer.pool("mock-light")
        assert "w1" in pool.members
        worker.busy_s = 0.0
        assert await call == LIGHT
        assert len(worker.executed) == 1


async def test_heavy_loss_gives_the_light_image_in_time() -> None:
    async with running_cluster() as cluster:
        cluster.workers["w2"].heavy_s = 30.0
        began_s = time.monotonic()
        outcome = await _outcome(cluster, "two owls 0.1", deadline_s=1.0)
        assert outcome == FALLBACK
        assert time.monotonic() - began_s < 1.0
        await asyncio.sleep(0.1)
        assert len(cluster.workers["w2"].aborted) == 1


async def test_failed_light_image_is_an_internal_error_and_the_service_goes_on() -> None:
    async with running_cluster() as cluster:
        call = cluster.stub.Generate(request("fails 0.9"))
        assert await code_of(call) is grpc.StatusCode.INTERNAL
        assert await _outcome(cluster, "an owl 0.9") == LIGHT


async def test_query_is_remembered_by_its_id() -> None:
    async with running_cluster() as cluster:
        await cluster.stub.Generate(request(query_id="mine"))
        record = await cluster.stub.GetQuery(generation_pb2.GetQueryRequest(query_id="mine"))
        assert (record.outcome, record.phase) == (LIGHT, "done")
        unknown = cluster.stub.GetQuery(generation_pb2.GetQueryRequest(query_id="other"))
        assert await code_of(unknown) is grpc.StatusCode.NOT_FOUND


async def test_drain_finishes_what_was_accepted_and_refuses_the_rest() -> None:
    async with running_cluster(num_workers=1) as cluster:
        cluster.workers["w1"].light_s = 0.3
        accepted = [asyncio.create_task(_outcome(cluster, "an owl 0.9")) for _ in range(5)]
        await asyncio.sleep(0.1)
        draining = asyncio.create_task(cluster.application.drain())
        await asyncio.sleep(0)
        late = cluster.stub.Generate(request())
        assert await code_of(late) is grpc.StatusCode.UNAVAILABLE
        assert Counter(await asyncio.gather(*accepted)) == {LIGHT: 5}
        await asyncio.wait_for(draining, 1.0)


async def test_an_older_plan_changes_nothing() -> None:
    async with running_cluster() as cluster:
        await cluster.plan({"w1": "mock-light", "w2": "mock-heavy"}, plan_id=7)
        old = cluster.old_plan(plan_id=6)
        cluster.application.dispatcher.apply_plan(old)
        assert cluster.application.balancer.plan_id == 7
        assert await _outcome(cluster, "two owls 0.1") == HEAVY


async def test_rpc_deadline_counts() -> None:
    async with running_cluster(num_workers=1) as cluster:
        cluster.workers["w1"].light_s = 2.0
        call = cluster.stub.Generate(request(), timeout=0.3)
        assert await code_of(call) is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.sleep(0.2)
        assert cluster.application.balancer.ledger.num_in_progress("mock") == 0


async def _outcome(cluster: Cluster, prompt: str, **fields: Any) -> int:
    answer = await cluster.stub.Generate(request(prompt, **fields))
    return int(answer.outcome)


def test_a_class_may_be_named_in_place_of_a_cascade_and_errors_list_both() -> None:
    catalog = load_catalog("mock")
    twin = replace(catalog.cascades["mock"], cascade_id="twin")
    both = RequestClass(class_id="both", cascade_ids=("mock", "twin"))
    catalog = replace(catalog, cascades={**catalog.cascades, "twin": twin}, classes={"both": both})
    assert check_request(request(cascade_id="both"), catalog) == "both"
    assert check_request(request(cascade_id="twin"), catalog) == "twin"
    with pytest.raises(InputError, match="there is mock, twin; or, as a class of several, both"):
        check_request(request(cascade_id="nope"), catalog)


async def test_a_query_has_a_story() -> None:
    async with running_cluster() as cluster:
        answer = await cluster.stub.Generate(request("two owls 0.1"))
        asked = generation_pb2.GetQueryRequest(query_id=answer.query_id)
        steps = list((await cluster.stub.GetQuery(asked)).steps)
        names = ["arrived", "light_batch", "light_image", "deferred", "heavy_batch", "heavy_image"]
        assert [step.name for step in steps] == [*names, "heavy"]
        assert [step.at_s for step in steps] == sorted(step.at_s for step in steps)
        light = steps[1]
        assert (light.variant_id, light.worker_id, light.batch_size) == ("mock-light", "w1", 1)
        assert light.plan_id == 1
        assert "ranks at 10 %" in steps[2].detail
        assert steps[3].detail == steps[-1].detail == answer.reason
