"""A controller that comes back changes nothing by itself."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio

from diffserve.core import Plan
from diffserve.rpc.v1 import admin_pb2
from diffserve.telemetry import keys
from diffserve.telemetry.store import TelemetryStore
from tests.services.controller.deployment import (
    PERIOD_S,
    Client,
    ScriptedLoadBalancer,
    renewed,
    running_controller,
    running_loadbalancer,
)

FOUR = ("w-0", "w-1", "w-2", "w-3")


async def test_placement_stays_and_plan_ids_go_on(redis_url: str) -> None:
    async with running_loadbalancer(redis_url, qps=40.0):
        async with running_controller(redis_url) as client, renewed(client, *FOUR):
            await client.plan_where(
                lambda p: len(p.placement) == 4 and p.cascades["mock"].demand_qps > 35.0
            )
            await asyncio.sleep(3 * PERIOD_S)
            before = await client.plan()
        assert before is not None
        assert set(before.placement.values()) == {"mock-light", "mock-heavy"}
        async with running_controller(redis_url) as client, renewed(client, *FOUR):
            for _ in range(4):
                plan = await client.next_plan()
                assert plan.plan_id > before.plan_id
                assert plan.placement == before.placement
                assert plan.cascades["mock"].demand_qps == pytest.approx(
                    before.cascades["mock"].demand_qps, rel=0.3
                )


async def test_the_plan_in_force_is_served_before_anything_is_planned(redis_url: str) -> None:
    async with running_controller(redis_url) as client, renewed(client, *FOUR):
        await client.plan_where(lambda p: len(p.placement) == 4)
        await _pause(client, paused=True)
        await asyncio.sleep(2 * PERIOD_S)
        before = await client.plan()
    assert before is not None
    await asyncio.sleep(1.0)
    async with running_controller(redis_url) as client:
        call = client.watch()
        message = await asyncio.wait_for(call.read(), 5)
        call.cancel()
        assert message.plan_id == before.plan_id
        assert 1.0 < message.age_s < 20.0
        assert len(message.placements) == 4
        # The pause outlives the process that was told.
        assert (await client.status()).planning_paused
        await _pause(client, paused=False)
        await client.next_plan()


async def test_members_are_known_with_a_fresh_lease(redis_url: str) -> None:
    async with running_controller(redis_url) as client, renewed(client, *FOUR):
        await client.plan_where(lambda p: len(p.placement) == 4)
        await asyncio.sleep(PERIOD_S)
    async with running_controller(redis_url) as client:
        workers = await client.admin.ListWorkers(admin_pb2.ListWorkersRequest(), timeout=5)
        assert [w.worker_id for w in workers.workers] == list(FOUR)
        assert all(w.lease_age_s < 1.0 and w.assigned for w in workers.workers)
        # Nobody renews, so they go after all.
        await client.plan_where(lambda p: not p.placement)


async def test_plan_ids_rise_above_what_load_balancers_follow_when_all_memory_is_lost(
    redis_url: str,
) -> None:
    balancer = ScriptedLoadBalancer(redis_url)
    balancer.plan_id = 500
    await balancer.report()
    async with running_controller(redis_url) as client, renewed(client, *FOUR):
        plan = await client.plan_where(lambda p: len(p.placement) == 4)
        assert plan.plan_id > 500
    await balancer.store.close()


async def test_an_unreadable_plan_in_redis_stops_nothing(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = TelemetryStore(redis_url)
    await store.save_plan(await store.next_plan_id(after=41), "{broken")
    async with running_controller(redis_url) as client, renewed(client, *FOUR):
        plan = await client.plan_where(lambda p: len(p.placement) == 4)
        assert plan.plan_id > 42
    assert "unreadable" in caplog.text
    assert await store.load_plan() not in (None, "{broken")
    await store.close()


async def test_a_second_controller_on_the_same_redis_is_told_of(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def is_rivalled(plan: Plan) -> bool:
        return "another controller plans by the same Redis" in plan.reason

    async with running_controller(redis_url) as client, renewed(client, *FOUR):
        for _ in range(3):
            assert not is_rivalled(await client.next_plan())
        async with running_controller(redis_url) as other:
            await client.plan_where(is_rivalled)
            await other.plan_where(is_rivalled)
        await client.plan_where(lambda plan: not is_rivalled(plan))
    assert "another controller" in caplog.text


async def test_unreadable_members_and_profiles_in_redis_stop_nothing(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as raw:
        await raw.hset(keys.WORKERS.of(), mapping={"w-8": "{broken", "w-9": '{"address": "h:1"}'})
        await raw.hset(keys.PROFILE.of("cpu:mock-light"), mapping={"one": "0.1", "2": "0.03"})
    async with running_controller(redis_url) as client, renewed(client, *FOUR):
        await client.plan_where(lambda p: len(p.placement) == 4)
    assert "w-8" in caplog.text and "w-9" in caplog.text
    assert "cpu:mock-light" in caplog.text


async def _pause(client: Client, *, paused: bool) -> None:
    request = admin_pb2.SetPlanningRequest(paused=paused)
    assert (await client.admin.SetPlanning(request, timeout=5)).paused is paused
