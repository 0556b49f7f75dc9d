"""Without Redis the plan in force stays, its age shows, and everything resumes by itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Iterator

import grpc
import pytest
import redis.asyncio

from diffserve.rpc.v1 import admin_pb2
from diffserve.telemetry.store import TelemetryStore
from tests.services.controller.deployment import (
    PERIOD_S,
    Client,
    eventually,
    renewed,
    running_controller,
    running_loadbalancer,
)

FOUR = ("w-0", "w-1", "w-2", "w-3")


@contextlib.contextmanager
def paused(process) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


async def test_a_paused_redis_freezes_plans_and_nothing_else(redis_url: str, redis_server) -> None:
    async with (
        running_controller(redis_url) as client,
        renewed(client, *FOUR),
        running_loadbalancer(redis_url, qps=20.0),
    ):
        await client.plan_where(
            lambda p: len(p.placement) == 4 and p.cascades["mock"].demand_qps > 15.0
        )
        with paused(redis_server.process):

            async def lost() -> bool:
                return not (await client.status()).redis_connected

            await eventually(lost)
            frozen = await client.plan()
            assert frozen is not None
            async with renewed(client, "late"):
                await asyncio.sleep(2.0)
                status = await client.status()
                assert status.plan.plan_id == frozen.plan_id
                assert status.telemetry_age_s > 2.0
                assert "late" in [w.worker_id for w in status.workers]
                began_s = time.monotonic()
                await client.status()
                assert time.monotonic() - began_s < 0.5
                slo = await client.admin.SetSlo(admin_pb2.SetSloRequest(slo_s=3.5), timeout=5)
                request = admin_pb2.PinThresholdRequest(share=0.5)
                pinned = await client.admin.PinThreshold(request, timeout=5)
                assert (slo.redis_gone, pinned.redis_gone) == (True, True)
                status = await client.status()
                assert status.cascades[0].slo_s == 3.5
                assert status.plan.cascades[0].slo_s == 2.0
                with pytest.raises(grpc.aio.AioRpcError, match="Redis") as caught:
                    await client.admin.GetPlan(admin_pb2.GetPlanRequest(plan_id=10**6), timeout=5)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        plan = await client.plan_where(lambda p: p.plan_id > frozen.plan_id)
        # Seconds of arrivals come in at once: they are a rate, not a flood.
        assert plan.cascades["mock"].demand_qps < 40.0
        status = await client.status()
        assert status.redis_connected
        assert status.telemetry_age_s < 2.0
        await client.plan_where(lambda p: set(p.placement) == set(FOUR))


async def test_an_order_right_after_redis_went_says_that_it_waits(
    redis_url: str, redis_server
) -> None:
    async with running_controller(redis_url) as client, renewed(client, *FOUR):
        await client.plan_where(lambda p: len(p.placement) == 4)
        request = admin_pb2.SetSloRequest(slo_s=3.5)
        with paused(redis_server.process):
            assert (await client.admin.SetSlo(request, timeout=5)).redis_gone
        await client.plan_where(lambda p: p.cascades["mock"].slo_s == 3.5)
        assert not (await client.admin.SetSlo(request, timeout=5)).redis_gone


async def test_a_start_without_redis_waits_for_it_and_then_restores(
    redis_url: str, redis_server
) -> None:
    async with running_controller(redis_url) as client, renewed(client, *FOUR):
        before = await client.plan_where(lambda p: len(p.placement) == 4)
        await asyncio.sleep(PERIOD_S)
    with paused(redis_server.process):
        context = running_controller(redis_url)
        client = await context.__aenter__()
        assert await client.plan() is None
        assert not (await client.status()).redis_connected
        assert (await client.register("w-9")).plan_id == 0
    async with renewed(client, *FOUR, "w-9"):
        plan = await client.plan_where(lambda p: len(p.placement) == 5)
        assert plan.plan_id > before.plan_id
    await context.__aexit__(None, None, None)


async def test_what_is_taken_back_before_redis_answers_is_not_restored(
    redis_url: str, redis_server
) -> None:
    async with running_controller(redis_url) as client, renewed(client, *FOUR):
        await pause(client, paused=True)
        await order(client, slo_s=3.5, share=0.5)
        await eventually(lambda: stored_slo(redis_url, 3.5))
    with paused(redis_server.process):
        context = running_controller(redis_url)
        client = await context.__aenter__()
        await pause(client, paused=False)
        await order(client, slo_s=None, share=None)
    async with renewed(client, *FOUR):
        await client.next_plan()
        plan = await client.plan_where(lambda p: not p.cascades["mock"].is_pinned)
        assert plan.cascades["mock"].slo_s == 2.0
        assert not (await client.status()).planning_paused
    await context.__aexit__(None, None, None)


async def pause(client: Client, *, paused: bool) -> None:
    request = admin_pb2.SetPlanningRequest(paused=paused)
    await client.admin.SetPlanning(request, timeout=5)


async def order(client: Client, *, slo_s: float | None, share: float | None) -> None:
    await client.admin.SetSlo(admin_pb2.SetSloRequest(slo_s=slo_s), timeout=5)
    await client.admin.PinThreshold(admin_pb2.PinThresholdRequest(share=share), timeout=5)


async def stored_slo(redis_url: str, slo_s: float) -> bool:
    store = TelemetryStore(redis_url)
    document = await store.load_overrides()
    await store.close()
    return f'"mock": {slo_s}' in (document or "")


async def test_a_redis_that_lost_its_data_is_filled_again(redis_url: str) -> None:
    store = TelemetryStore(redis_url)
    async with running_controller(redis_url) as client, renewed(client, *FOUR):
        await client.plan_where(lambda p: len(p.placement) == 4)
        # Far beyond what a counter that starts again could reach within this test.
        await store.next_plan_id(after=10_000)
        before = await client.next_plan()
        assert before.plan_id > 10_000
        async with redis.asyncio.Redis.from_url(redis_url) as raw:
            await raw.flushall()
        after = await client.next_plan()
        assert after.plan_id > before.plan_id
        assert after.placement == before.placement
        assert [w.worker_id for w in await store.load_workers()] == list(FOUR)
        assert await store.load_plan() is not None
    await store.close()
