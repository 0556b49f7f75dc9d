"""What operators see and change."""

from __future__ import annotations

import asyncio

import grpc
import pytest

import diffserve
from diffserve.rpc.v1 import admin_pb2
from diffserve.telemetry.records import QueueReport
from tests.services.controller.deployment import (
    PERIOD_S,
    ScriptedLoadBalancer,
    renewed,
    running_controller,
    running_workers,
)


async def test_status_agrees_with_redis(redis_url: str) -> None:
    one = ScriptedLoadBalancer(redis_url, "lb-0")
    two = ScriptedLoadBalancer(redis_url, "lb-1")
    one.arrivals, two.arrivals = 10.0, 5.0
    one.outcomes, two.outcomes = {"light": 6, "heavy": 3}, {"heavy": 4, "rejected": 1}
    one.in_progress = 1
    one.queues = {"mock-light": QueueReport(length=2, oldest_age_s=0.5)}
    two.queues = {
        "mock-light": QueueReport(length=1, oldest_age_s=0.25),
        "mock-heavy": QueueReport(length=4, oldest_age_s=1.0),
    }
    async with running_controller(redis_url) as client, renewed(client, "w-0"):
        plan = await client.plan_where(lambda p: "w-0" in p.placement)
        await one.report()
        await two.report()
        status = await client.status()
    assert status.version == diffserve.__version__
    assert status.solver == "enumeration"
    assert status.redis_connected
    assert status.telemetry_age_s < 1.0
    assert not status.planning_paused
    assert status.planning_period_s == PERIOD_S
    assert status.uptime_s > 0.0
    assert [row.loadbalancer_id for row in status.loadbalancers] == ["lb-0", "lb-1"]
    assert all(0.0 <= row.report_age_s < 1.0 for row in status.loadbalancers)
    assert status.plan.plan_id >= plan.plan_id
    (worker,) = status.workers
    assert (worker.worker_id, worker.assigned) == ("w-0", plan.placement["w-0"])
    assert {worker.assigned, *worker.coresident} == {"mock-light", "mock-heavy"}, "by turns"
    assert worker.lease_age_s < 1.0
    (cascade,) = status.cascades
    assert (cascade.light, cascade.heavy, cascade.slo_s) == ("mock-light", "mock-heavy", 2.0)
    assert dict(cascade.outcomes) == {"light": 6, "heavy": 7, "rejected": 1}
    assert (cascade.num_arrivals, cascade.num_in_progress) == (15, 1)
    assert (cascade.light_queue_length, cascade.heavy_queue_length) == (3, 4)
    await one.store.close()
    await two.store.close()


async def test_plans_by_id(redis_url: str) -> None:
    async def get(plan_id: int):
        return await client.admin.GetPlan(admin_pb2.GetPlanRequest(plan_id=plan_id), timeout=5)

    async with running_controller(redis_url) as client:
        with pytest.raises(grpc.aio.AioRpcError, match="no plan yet") as caught:
            await get(0)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        async with renewed(client, "w-0"):
            first = await client.plan_where(lambda p: "w-0" in p.placement)
            newer = await client.next_plan()
            past = await get(first.plan_id)
            assert (past.plan_id, len(past.placements)) == (first.plan_id, 1)
            assert past.age_s > 0.0
            assert (await get(0)).plan_id >= newer.plan_id
            with pytest.raises(grpc.aio.AioRpcError, match="987654") as caught:
                await get(987654)
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_workers_are_listed_by_id(redis_url: str) -> None:
    async with running_controller(redis_url) as client:
        await client.register("w-1", "host:2", device="cuda:0", resident=["mock-light"])
        await client.register("w-0", "host:1", draining=True)
        response = await client.admin.ListWorkers(admin_pb2.ListWorkersRequest(), timeout=5)
    first, second = response.workers
    assert (first.worker_id, first.draining) == ("w-0", True)
    assert (second.address, second.device) == ("host:2", "cuda:0")
    assert list(second.resident) == ["mock-light"]


async def test_cascades_are_listed_with_profiles(redis_url: str) -> None:
    async with running_controller(redis_url) as client:
        response = await client.admin.ListCascades(admin_pb2.ListCascadesRequest(), timeout=5)
    (cascade,) = response.cascades
    assert (cascade.cascade_id, cascade.is_default, cascade.slo_s) == ("mock", True, 2.0)
    assert (cascade.discriminator, cascade.quality_metric) == ("mock", "made-up quality")
    assert list(cascade.fractions)[-1] == 1.0
    assert len(cascade.qualities) == len(cascade.fractions)
    assert cascade.heavy.execution_s[4] == pytest.approx(0.5)
    assert (cascade.light.width, cascade.light.num_inference_steps) == (64, 1)


async def test_paused_planning_keeps_the_plan_and_resumes(redis_url: str) -> None:
    async def set_paused(paused: bool) -> bool:
        request = admin_pb2.SetPlanningRequest(paused=paused)
        return (await client.admin.SetPlanning(request, timeout=5)).paused

    async with running_controller(redis_url) as client, renewed(client, "w-0"):
        await client.plan_where(lambda p: "w-0" in p.placement)
        assert await set_paused(True)
        await asyncio.sleep(PERIOD_S)
        frozen = await client.plan()
        assert frozen is not None
        async with renewed(client, "w-1"):
            await asyncio.sleep(3 * PERIOD_S)
            status = await client.status()
            assert status.planning_paused
            assert status.plan.plan_id == frozen.plan_id
            assert len(status.workers) == 2
            assert not await set_paused(False)
            await client.plan_where(lambda p: len(p.placement) == 2)


async def test_a_drained_worker_leaves_the_plan_and_comes_back(redis_url: str) -> None:
    async def drain(worker_id: str, *, resume: bool = False) -> admin_pb2.WorkerStatus:
        request = admin_pb2.DrainWorkerRequest(worker_id=worker_id, resume=resume)
        return (await client.admin.DrainWorker(request, timeout=5)).worker

    async with (
        running_controller(redis_url) as client,
        running_workers(client, "w-0", "w-1") as workers,
    ):
        await client.plan_where(lambda p: len(p.placement) == 2)
        assert (await drain("w-0")).draining
        await client.plan_where(lambda p: set(p.placement) == {"w-1"})
        assert workers[0].drains == [True]
        assert not (await drain("w-0", resume=True)).draining
        await client.plan_where(lambda p: len(p.placement) == 2)
        assert workers[0].drains == [True, False]


async def test_draining_the_unknown_and_the_unreachable(redis_url: str) -> None:
    async def drain(worker_id: str, *, resume: bool = False) -> None:
        request = admin_pb2.DrainWorkerRequest(worker_id=worker_id, resume=resume)
        await client.admin.DrainWorker(request, timeout=5)

    async with running_controller(redis_url) as client, renewed(client, "w-0", "w-1"):
        await client.plan_where(lambda p: len(p.placement) == 2)
        with pytest.raises(grpc.aio.AioRpcError, match="'w-7'") as caught:
            await drain("w-7")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError, match="it is out of the plan") as caught:
            await drain("w-0")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await client.plan_where(lambda p: set(p.placement) == {"w-1"})
        with pytest.raises(grpc.aio.AioRpcError, match="stays out of the plan"):
            await drain("w-0", resume=True)
        assert (await client.status()).workers[0].draining
