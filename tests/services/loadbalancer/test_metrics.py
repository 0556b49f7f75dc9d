"""What ``/metrics`` of the load balancer says is what its clients counted."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import httpx

from diffserve.rpc.v1 import common_pb2, generation_pb2
from tests.metrics import parsed
from tests.services.loadbalancer.cluster import Cluster, running_cluster


def request(prompt: str, **fields: Any) -> generation_pb2.GenerateRequest:
    parameters = common_pb2.GenerationParameters(prompt=prompt, seed=1)
    return generation_pb2.GenerateRequest(parameters=parameters, **fields)


async def scrape(cluster: Cluster) -> dict[str, float]:
    http = cluster.application._http
    assert http is not None
    # Certificates are not needed here, and loading them takes long.
    async with httpx.AsyncClient(verify=False) as client:
        answer = await client.get(f"http://127.0.0.1:{http.port}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return parsed(answer.text)


async def test_outcomes_and_latencies_are_those_that_clients_saw() -> None:
    prompts = ["owl 0.9"] * 4 + ["owl 0.1"] * 2 + ["fails 0.9"]
    async with running_cluster(num_workers=3) as cluster:
        answers = await asyncio.gather(
            *(cluster.stub.Generate(request(prompt), timeout=10) for prompt in prompts),
            return_exceptions=True,
        )
        good = [a for a in answers if isinstance(a, generation_pb2.GenerateResponse)]
        found = await scrape(cluster)
    assert len(good) == 6
    heavy = sum(answer.outcome == common_pb2.OUTCOME_HEAVY for answer in good)
    assert found["diffserve_queries_arrived_total{cascade=mock}"] == 7
    assert found["diffserve_queries_finished_total{cascade=mock,outcome=heavy}"] == heavy
    assert found["diffserve_queries_finished_total{cascade=mock,outcome=light}"] == 6 - heavy
    assert found["diffserve_queries_finished_total{cascade=mock,outcome=failed}"] == 1
    assert found["diffserve_queries_good_total{cascade=mock}"] == 6
    assert found["diffserve_slo_violations_total{cascade=mock}"] == 1
    assert found["diffserve_light_images_total{cascade=mock}"] == 6
    assert found["diffserve_queries_deferred_total{cascade=mock}"] == heavy == 2
    assert found["diffserve_queries_in_progress{cascade=mock}"] == 0
    assert found["diffserve_deferral_target_ratio{cascade=mock}"] == 0.5
    assert found["diffserve_plan_id"] == 1
    total_s = sum(answer.times.total_s for answer in good)
    measured_s = sum(
        found[f"diffserve_query_duration_seconds_sum{{cascade=mock,outcome={outcome}}}"]
        for outcome in ("light", "heavy")
    )
    assert abs(measured_s - total_s) < 1e-6
    stage = "diffserve_stage_duration_seconds_count{cascade=mock,stage=heavy_execution}"
    assert found[stage] == heavy


async def test_batch_sizes_are_those_that_workers_saw() -> None:
    async with running_cluster() as cluster:
        work = [cluster.stub.Generate(request("owl 0.9"), timeout=10) for _ in range(9)]
        await asyncio.gather(*work)
        found = await scrape(cluster)
        executed = [ids for variant, ids in cluster.workers["w1"].executed]
    assert found["diffserve_batch_size_count{variant=mock-light}"] == len(executed)
    assert found["diffserve_batch_size_sum{variant=mock-light}"] == 9


async def settled(cluster: Cluster, num_queries: int) -> dict[str, float]:
    """Return what is said once all queries wait or are at the worker, none on the way to it."""
    executed = cluster.workers["w1"].executed
    async with asyncio.timeout(10):
        while True:
            num_before = sum(len(ids) for _, ids in executed)
            found = await scrape(cluster)
            if found["diffserve_queries_arrived_total{cascade=mock}"] == num_queries:
                waiting = found["diffserve_queries_waiting{variant=mock-light}"]
                assert waiting <= num_queries - num_before
                if waiting == num_queries - sum(len(ids) for _, ids in executed):
                    return found
            await asyncio.sleep(0.01)


async def test_the_waiting_gauge_is_what_really_waits() -> None:
    async with running_cluster() as cluster:
        await cluster.plan({"w1": "mock-light", "w2": "mock-heavy"}, plan_id=2, slo_s=60.0)
        worker = cluster.workers["w1"]
        worker.gate = asyncio.Semaphore(0)
        calls = [cluster.stub.Generate(request("owl 0.9"), timeout=60) for _ in range(10)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        seen: list[float] = []
        while not seen or seen[-1] > 0:
            num_batches = len(worker.executed)
            for _ in range(2):  # that it agrees once could be chance
                found = await settled(cluster, 10)
                waiting = found["diffserve_queries_waiting{variant=mock-light}"]
                age_s = found["diffserve_queue_oldest_age_seconds{variant=mock-light}"]
                due_qps = found["diffserve_queue_due_qps{variant=mock-light}"]
                assert (age_s > 0) == (due_qps > 0) == (waiting > 0)
                seen.append(waiting)
            worker.gate.release()
            async with asyncio.timeout(10):
                while waiting > 0 and len(worker.executed) == num_batches:
                    await asyncio.sleep(0.01)
        await asyncio.gather(*tasks)
        found = await scrape(cluster)
    assert max(seen) >= 5
    assert found["diffserve_queries_waiting{variant=mock-light}"] == 0
    assert found["diffserve_queries_good_total{cascade=mock}"] == 10


async def test_clients_that_leave_are_no_violations_and_wait_no_more() -> None:
    async with running_cluster() as cluster:
        cluster.workers["w1"].light_s = 0.3
        calls = [cluster.stub.Generate(request("owl 0.9"), timeout=10) for _ in range(3)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        for call in calls:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
                await call
        async with asyncio.timeout(5):
            name = "diffserve_queries_finished_total{cascade=mock,outcome=cancelled}"
            while (found := await scrape(cluster))[name] < 3:
                await asyncio.sleep(0.02)
    assert found["diffserve_queries_waiting{variant=mock-light}"] == 0
    assert found.get("diffserve_slo_violations_total{cascade=mock}", 0.0) == 0
