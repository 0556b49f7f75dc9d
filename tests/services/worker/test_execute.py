"""Execute, Abort and cancellation with mock variants."""

from __future__ import annotations

import asyncio
import io
import time

import grpc
import numpy as np
import pytest
from PIL import Image

from diffserve.catalog import Catalog
from diffserve.core import Population
from diffserve.errors import WORKER_BUSY, OverloadedError
from diffserve.profiles.sketch import NUM_BORROWED_SCORES
from diffserve.rpc.status import from_call
from diffserve.rpc.v1 import worker_pb2
from tests.services.worker.harness import (
    collect,
    mock_catalog,
    request,
    running_discriminator,
    running_worker,
)


@pytest.fixture
def catalog() -> Catalog:
    return mock_catalog({"v-fast": 0.02, "v-slow": 0.5})


def abort_of(*query_ids: str) -> worker_pb2.AbortRequest:
    return worker_pb2.AbortRequest(query_ids=query_ids, batch_id=1)


async def test_events_come_in_order_with_one_result_per_query(catalog: Catalog) -> None:
    async with running_worker(catalog) as worker:
        answer = await collect(worker.stub.Execute(request("v-fast", "a", "b", "c")))
    assert answer.kinds == ["started", "released", "result", "result", "result"]
    assert set(answer.results) == {"a", "b", "c"}
    assert 0.024 <= answer.execution_s < 0.2
    assert 0.0 <= answer.staged_s < 0.1
    for result in answer.results.values():
        assert (result.image.width, result.image.height) == (64, 64)
        assert not result.HasField("confidence")
        assert not result.error
        assert not result.scoring_error


@pytest.mark.parametrize("output_format", ["", "png", "jpeg", "webp"])
async def test_images_have_the_size_and_format_asked_for(
    catalog: Catalog, output_format: str
) -> None:
    async with running_worker(catalog) as worker:
        asked = request("v-fast", "a", width=96, height=48, output_format=output_format)
        answer = await collect(worker.stub.Execute(asked))
    image = answer.results["a"].image
    with Image.open(io.BytesIO(image.data)) as decoded:
        assert decoded.size == (96, 48)
        assert decoded.format == (output_format or "png").upper()
    assert image.media_type == f"image/{output_format or 'png'}"


async def test_an_image_depends_on_prompt_and_seed_only(catalog: Catalog) -> None:
    async with running_worker(catalog) as worker:
        alone = await collect(worker.stub.Execute(request("v-fast", "a")))
        among = await collect(worker.stub.Execute(request("v-slow", "b", "a")))
        other = await collect(worker.stub.Execute(request("v-fast", "a", seed=2)))
    assert alone.results["a"].image.data == among.results["a"].image.data
    assert alone.results["a"].image.data != other.results["a"].image.data


async def test_confidences_come_from_the_discriminator(catalog: Catalog) -> None:
    async with (
        running_discriminator(catalog) as (scorer, address),
        running_worker(catalog, discriminator_address=address) as worker,
    ):
        sketches, population = scorer.scoring.populations.sketches, Population("mock", "v-fast")
        asked = request("v-fast", "a", "b", discriminator="mock", width=1024, height=64)
        answer = await collect(worker.stub.Execute(asked))
        after = sketches[population].scores()
        assert len(sketches[Population("mock", "mock-light")]) == 512
    confidences = {answer.results[q].confidence for q in ("a", "b")}
    assert len(confidences) == 2
    assert sorted(after[-2:]) == pytest.approx(sorted(confidences))
    assert len(after) == NUM_BORROWED_SCORES + 2
    assert all(0.0 <= answer.results[q].percentile <= 1.0 for q in ("a", "b"))
    assert all(answer.results[q].scoring_s > 0.0 for q in ("a", "b"))


@pytest.mark.parametrize(
    ("discriminator", "reason"), [("mock", "UNAVAILABLE"), ("nobody", "NOT_FOUND")]
)
async def test_without_a_score_the_image_is_sent_all_the_same(
    catalog: Catalog, discriminator: str, reason: str
) -> None:
    async with running_discriminator(catalog) as (_, address):
        where = address if discriminator == "nobody" else "127.0.0.1:1"
        async with running_worker(catalog, discriminator_address=where) as worker:
            asked = request("v-fast", "a", discriminator=discriminator)
            answer = await collect(worker.stub.Execute(asked))
    result = answer.results["a"]
    assert result.image.data
    assert not result.HasField("confidence")
    assert not result.error
    assert reason in result.scoring_error


async def test_scoring_is_bounded_by_the_smallest_budget_left(catalog: Catalog) -> None:
    async with running_discriminator(catalog) as (scorer, address):

        async def never(*args: object, **kwargs: object) -> list[float]:
            await asyncio.sleep(30.0)
            return []

        scorer.scoring.thread.confidences = never  # type: ignore[assignment]
        async with running_worker(catalog, discriminator_address=address) as worker:
            asked = request("v-fast", "late", "short", "long", discriminator="mock")
            asked.queries[0].budget_s = 0.001
            asked.queries[1].budget_s = 0.3
            started_s = time.monotonic()
            answer = await collect(worker.stub.Execute(asked))
            took_s = time.monotonic() - started_s
    assert 0.2 < took_s < 1.0
    assert all("DEADLINE_EXCEEDED" in r.scoring_error for r in answer.results.values())


async def test_the_next_batch_runs_while_one_is_scored(catalog: Catalog) -> None:
    async with running_discriminator(catalog) as (scorer, address):
        gate = asyncio.Event()
        real = scorer.scoring.thread.confidences

        async def slow(*args: object) -> list[float]:
            await gate.wait()
            return await real(*args)  # type: ignore[arg-type]

        scorer.scoring.thread.confidences = slow  # type: ignore[assignment]
        async with running_worker(catalog, discriminator_address=address) as worker:
            first = asyncio.ensure_future(
                collect(worker.stub.Execute(request("v-fast", "a", discriminator="mock")))
            )
            await asyncio.sleep(0.1)
            second = await collect(worker.stub.Execute(request("v-fast", "b")))
            assert not first.done()
            gate.set()
            assert (await first).results["a"].HasField("confidence")
    assert second.results["b"].image.data


async def test_one_batch_runs_one_is_staged_the_third_is_refused(catalog: Catalog) -> None:
    async with running_worker(catalog) as worker:
        first = asyncio.ensure_future(collect(worker.stub.Execute(request("v-slow", "a"))))
        await worker.has_accepted(1)
        second = asyncio.ensure_future(collect(worker.stub.Execute(request("v-fast", "b"))))
        await worker.has_accepted(2)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await collect(worker.stub.Execute(request("v-fast", "c")))
        assert (await first).results["a"].image.data
        assert (await second).staged_s > 0.1
        third = await collect(worker.stub.Execute(request("v-fast", "c")))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert third.results["c"].image.data


async def test_a_batch_for_an_idle_device_is_not_staged(catalog: Catalog) -> None:
    async with running_worker(catalog) as worker:
        first = asyncio.ensure_future(collect(worker.stub.Execute(request("v-slow", "a"))))
        await worker.has_accepted(1)
        choosy = request("v-fast", "b")
        choosy.only_if_idle = True
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await collect(worker.stub.Execute(choosy))
        assert (await first).results["a"].image.data
        assert (await collect(worker.stub.Execute(choosy))).results["b"].image.data
    error = from_call(refused.value)
    assert isinstance(error, OverloadedError)
    assert error.cause == WORKER_BUSY
    assert 0.0 < error.retry_after_s <= 0.5


async def test_aborting_one_query_leaves_its_mates_alone(catalog: Catalog) -> None:
    async with running_worker(catalog) as worker:
        call = asyncio.ensure_future(collect(worker.stub.Execute(request("v-slow", "a", "b"))))
        await worker.has_accepted(1)
        aborted = await worker.stub.Abort(abort_of("a", "unknown"))
        again = await worker.stub.Abort(abort_of("a"))
        answer = await call
    assert (aborted.num_aborted, again.num_aborted) == (1, 0)
    assert answer.results["a"].aborted
    assert not answer.results["a"].image.data
    assert answer.results["b"].image.data


async def test_aborting_leaves_queries_of_the_same_id_of_other_batches_alone(
    catalog: Catalog,
) -> None:
    async with running_worker(catalog) as worker:
        batches = [request("v-slow", "a") for _ in range(2)]
        batches[1].loadbalancer_id = "another"
        calls = [asyncio.ensure_future(collect(worker.stub.Execute(b))) for b in batches]
        await worker.has_accepted(2)
        wrong = abort_of("a")
        wrong.batch_id = 7
        assert (await worker.stub.Abort(wrong)).num_aborted == 0
        assert (await worker.stub.Abort(abort_of("a"))).num_aborted == 1
        mine, others = [(await call).results["a"] for call in calls]
    assert mine.aborted
    assert others.image.data


async def test_aborting_every_query_stops_the_device(catalog: Catalog) -> None:
    async with running_worker(catalog) as worker:
        running = asyncio.ensure_future(collect(worker.stub.Execute(request("v-slow", "a", "b"))))
        await worker.has_accepted(1)
        staged = asyncio.ensure_future(collect(worker.stub.Execute(request("v-slow", "c"))))
        await worker.has_accepted(2)
        await worker.stub.Abort(abort_of("c"))
        await worker.stub.Abort(abort_of("a", "b"))
        first, second = await running, await staged
        described = await worker.stub.Describe(worker_pb2.DescribeRequest())
    assert first.kinds == ["started", "released", "result", "result"]
    assert first.execution_s < 0.45
    assert second.kinds == ["result"]
    assert all(r.aborted for r in (*first.results.values(), *second.results.values()))
    assert described.num_batches == 1


async def test_eight_clients_leave_and_no_batch_runs_to_its_end(catalog: Catalog) -> None:
    async with running_worker(catalog) as worker:
        executor = worker.application.executor
        num_measured = executor.latencies.num_observed
        calls = [worker.stub.Execute(request("v-slow", f"q{n}")) for n in range(8)]
        await worker.has_accepted(2)
        for call in calls:
            call.cancel()
        left_s = time.monotonic()
        await executor.drain()
        assert time.monotonic() - left_s < 0.3
        executor.resume()
        assert executor.latencies.num_observed == num_measured
        # The staged one may have begun before the news of its own client came.
        assert executor.num_batches <= 2
        for number in range(20):
            answer = await collect(worker.stub.Execute(request("v-fast", f"after-{number}")))
            assert answer.results[f"after-{number}"].image.data


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"width": 100}, "queries.0.parameters.width"),
        ({"width": 100_000, "height": 10_000}, "queries.0.parameters.width"),
        ({"height": 4096}, "queries.0.parameters.height"),
        ({"num_inference_steps": 1_000_000}, "queries.0.parameters.num_inference_steps"),
        ({"num_inference_steps": -1}, "queries.0.parameters.num_inference_steps"),
        ({"guidance_scale": float("nan")}, "queries.0.parameters.guidance_scale"),
        ({"guidance_scale": -1.0}, "queries.0.parameters.guidance_scale"),
        ({"prompt": "  "}, "queries.0.parameters.prompt"),
        ({"prompt": "x" * 5000}, "queries.0.parameters.prompt"),
        ({"negative_prompt": "x" * 5000}, "queries.0.parameters.negative_prompt"),
        ({"seed": None}, "queries.0.parameters.seed"),
        ({"output_format": "gif"}, "queries.0.parameters.output_format"),
    ],
)
async def test_unusable_parameters_are_refused_by_name(
    catalog: Catalog, changes: dict[str, object], field: str
) -> None:
    async with running_worker(catalog, preload="v-fast") as worker:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await collect(worker.stub.Execute(request("v-fast", "a", **changes)))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (refused.value.details() or "").startswith(field)


@pytest.mark.parametrize(
    ("name", "value"),
    [("width", 128), ("height", 128), ("num_inference_steps", 3), ("guidance_scale", 2.0)],
)
async def test_batch_mates_share_their_settings(catalog: Catalog, name: str, value: float) -> None:
    asked = request("v-fast", "a", "b")
    setattr(asked.queries[1].parameters, name, value)
    async with running_worker(catalog, preload="v-fast") as worker:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await collect(worker.stub.Execute(asked))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (refused.value.details() or "").startswith(f"queries.1.parameters.{name}")


async def test_batches_are_bounded_and_ids_unique(catalog: Catalog) -> None:
    async with running_worker(catalog, preload="v-fast") as worker:
        for query_ids, field in (
            ((), "queries:"),
            (tuple(map(str, range(9))), "queries:"),
            (("a", "a"), "queries.1.query_id"),
            (("",), "queries.0.query_id"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await collect(worker.stub.Execute(request("v-fast", *query_ids)))
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert (refused.value.details() or "").startswith(field)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await collect(worker.stub.Execute(request("no-such-variant", "a")))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_four_large_images_pass_with_default_limits(catalog: Catalog) -> None:
    async with running_worker(catalog) as worker:
        asked = request("v-fast", *"abcd", width=1024, height=1024)
        answer = await collect(worker.stub.Execute(asked))
    sizes = [
        np.asarray(Image.open(io.BytesIO(r.image.data))).shape for r in answer.results.values()
    ]
    assert sizes == [(1024, 1024, 3)] * 4
