"""Leases and membership wake-ups, watches, profiles and assignments over real sockets."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import grpc
import pytest

from diffserve.core import Plan
from diffserve.planning.planner import make_plan
from diffserve.rpc.v1 import admin_pb2, controller_pb2, worker_pb2
from diffserve.telemetry.store import TelemetryStore
from tests.services.controller.deployment import (
    LEASE_S,
    Client,
    eventually,
    renewed,
    running_controller,
    running_workers,
)

LONG_PERIOD_S = 30.0
"""Whatever happens within a test cannot come from the period."""


async def test_a_worker_that_joins_or_leaves_is_planned_for_at_once(redis_url: str) -> None:
    async with running_controller(redis_url, planning_period_s=LONG_PERIOD_S) as client:
        began_s = time.monotonic()
        await client.register("w-0")
        await client.plan_where(lambda plan: "w-0" in plan.placement)
        await client.register("w-1")
        plan = await client.plan_where(lambda plan: "w-1" in plan.placement)
        assert set(plan.placement) == {"w-0", "w-1"}
        response = await client.register("w-1")
        assert (response.lease_s, response.plan_id) == (LEASE_S, plan.plan_id)
        assert response.assigned == plan.placement["w-1"]
        await client.register("w-1", leaving=True)
        await client.plan_where(lambda plan: set(plan.placement) == {"w-0"})
        assert time.monotonic() - began_s < 3.0


async def test_workers_that_start_together_share_a_plan(redis_url: str) -> None:
    async with running_controller(redis_url, planning_period_s=LONG_PERIOD_S) as client:
        await asyncio.gather(*(client.register(f"w-{i}") for i in range(8)))
        plan = await client.plan_where(lambda plan: len(plan.placement) == 8)
        assert plan.plan_id <= 2


async def test_a_lease_that_runs_out_ends_the_placement(redis_url: str) -> None:
    async with running_controller(redis_url, planning_period_s=LONG_PERIOD_S) as client:
        await client.register("silent")
        async with renewed(client, "alive"):
            await client.plan_where(lambda plan: len(plan.placement) == 2)
            began_s = time.monotonic()
            await client.plan_where(lambda plan: set(plan.placement) == {"alive"})
            assert time.monotonic() - began_s < LEASE_S + 1.0
        workers = await client.admin.ListWorkers(admin_pb2.ListWorkersRequest(), timeout=5)
        assert "silent" not in [w.worker_id for w in workers.workers]


async def test_membership_is_mirrored_to_redis(redis_url: str) -> None:
    store = TelemetryStore(redis_url)
    async with running_controller(redis_url) as client:
        await client.register("w-0", draining=True)

        async def mirrored() -> bool:
            return [w.worker_id for w in await store.load_workers() if w.is_draining] == ["w-0"]

        await eventually(mirrored)
        await client.register("w-0", leaving=True)

        async def emptied() -> bool:
            return await store.load_workers() == ()

        await eventually(emptied)
    await store.close()


@pytest.mark.parametrize("field", ["worker_id", "address", "device"])
async def test_an_empty_field_is_refused_by_name(redis_url: str, field: str) -> None:
    async with running_controller(redis_url) as client:
        fields = {"worker_id": "w", "address": "h:1", "device": "cpu", field: ""}
        with pytest.raises(grpc.aio.AioRpcError, match=field) as caught:
            await client.register(**fields)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_many_watchers_get_the_plan_in_force_and_every_new_one(redis_url: str) -> None:
    async def see_two(client: Client) -> list[int]:
        call = client.watch()
        ids = [message.plan_id async for message in _take(call, 2)]
        call.cancel()
        return ids

    async with running_controller(redis_url) as client, renewed(client, "w-0"):
        await client.plan_where(lambda plan: bool(plan.placement))
        seen = await asyncio.wait_for(asyncio.gather(*(see_two(client) for _ in range(50))), 10)
        assert all(first < second for first, second in seen)


async def test_watches_end_when_the_controller_stops(redis_url: str) -> None:
    async with running_controller(redis_url) as client:
        await client.register("w-0")
        call = client.watch()
        assert (await asyncio.wait_for(call.read(), 5)).plan_id > 0
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 1.0


async def _take(call, count: int):
    async for message in call:
        yield message
        count -= 1
        if count == 0:
            return


async def test_reported_latencies_change_profiles_and_survive_a_restart(redis_url: str) -> None:
    async def light_s(client: Client) -> float:
        response = await client.admin.ListCascades(admin_pb2.ListCascadesRequest(), timeout=5)
        return response.cascades[0].light.execution_s[1]

    async def is_slow(client: Client) -> bool:
        return await light_s(client) == pytest.approx(0.2)

    store = TelemetryStore(redis_url)
    async with running_controller(redis_url) as client, renewed(client, "w-0"):
        assert await light_s(client) == pytest.approx(0.02)
        sample = worker_pb2.LatencySample(
            variant_id="mock-light", batch_size=1, execution_s_p50=0.2, num_executions=50
        )
        request = controller_pb2.ReportProfileRequest(
            worker_id="w-0", device="cpu", latencies=[sample]
        )
        await client.controller.ReportProfile(request, timeout=5)
        await eventually(lambda: is_slow(client))
        await eventually(lambda: store.load_profile("cpu", "mock-light"))
    async with running_controller(redis_url) as client:
        await eventually(lambda: is_slow(client))
    await store.close()


@pytest.mark.parametrize("change", [{"batch_size": 0}, {"execution_s_p50": 0.0}])
async def test_an_impossible_latency_is_refused(redis_url: str, change: dict[str, float]) -> None:
    fields = {"variant_id": "mock-light", "batch_size": 1, "execution_s_p50": 1.0, **change}
    async with running_controller(redis_url) as client:
        request = controller_pb2.ReportProfileRequest(
            worker_id="w", device="cpu", latencies=[worker_pb2.LatencySample(**fields)]
        )
        with pytest.raises(grpc.aio.AioRpcError, match=r"latencies\[0\]") as caught:
            await client.controller.ReportProfile(request, timeout=5)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_workers_are_assigned_what_the_plan_says_and_only_once(redis_url: str) -> None:
    async with (
        running_controller(redis_url) as client,
        running_workers(client, "w-0", "w-1") as workers,
    ):
        await _until_as_planned(client, workers)
        told = [list(worker.assigned) for worker in workers]
        await client.next_plan()
        await client.next_plan()
        plan = await _until_as_planned(client, workers)
        assert [list(worker.assigned) for worker in workers] == told
        assert all(plan.workers[w.worker_id].resident for w in workers)


async def test_co_residents_are_assigned_with_the_placement(redis_url: str) -> None:
    def sharing(observation: Any, *rest: Any, **options: Any) -> Plan:
        plan = make_plan(observation, *rest, **options)
        other = {"mock-light": "mock-heavy", "mock-heavy": "mock-light"}
        return replace(plan, coresident={w: (other[v],) for w, v in plan.placement.items()})

    async with (
        running_controller(redis_url, sharing) as client,
        running_workers(client, "w-0") as workers,
    ):

        async def both() -> bool:
            return set(workers[0].resident) == {"mock-light", "mock-heavy"}

        await eventually(both)
        assert len(workers[0].coresident[-1]) == 1
        answer = await client.register("w-0", workers[0].address, incarnation="w-0")
        assert {answer.assigned, *answer.coresident} == {"mock-light", "mock-heavy"}


async def test_the_kind_of_device_is_remembered_and_its_profile_is_its_own(redis_url: str) -> None:
    async with running_controller(redis_url) as client:
        await client.register("w-0", device="cuda:0", device_type="A100")
        await client.register("w-1", device="cuda:0")
        workers = client.state.membership.workers()
        assert [worker.kind for worker in workers] == ["A100", "cuda"]
        sample = worker_pb2.LatencySample(
            variant_id="mock-light", batch_size=1, execution_s_p50=0.04, num_executions=9
        )
        request = controller_pb2.ReportProfileRequest(
            worker_id="w-0", device="cuda:0", device_type="A100", latencies=[sample]
        )
        await client.controller.ReportProfile(request, timeout=5)
        book = client.state.latencies
        assert book.profile("mock-light", "A100").execution_s(1) == pytest.approx(0.04)
        assert book.profile("mock-light", "cuda").execution_s(1) == pytest.approx(0.02)


async def test_a_failed_assignment_is_tried_again(redis_url: str) -> None:
    async with (
        running_controller(redis_url) as client,
        running_workers(client, "w-0") as workers,
    ):
        workers[0].refuses_assignments = True
        await client.plan_where(lambda plan: "w-0" in plan.placement)
        await client.next_plan()
        assert workers[0].assigned == []
        (shown,) = (await client.status()).workers
        assert shown.problem == "disk full"
        workers[0].refuses_assignments = False
        await _until_as_planned(client, workers)
        (shown,) = (await client.status()).workers
        assert shown.problem == ""


async def test_plans_reckon_with_the_time_that_loading_took(redis_url: str) -> None:
    async with (
        running_controller(redis_url) as client,
        running_workers(client, "w-0") as workers,
    ):
        workers[0].load_s = 7.5
        plan = await client.plan_where(lambda plan: "w-0" in plan.placement)
        await _until_as_planned(client, workers)
        members = client.state.membership.workers()
        facts = client.state.observer.observe(members).variants
        assert facts[plan.placement["w-0"]].load_s == 7.5


async def test_a_worker_slow_to_load_holds_nobody_up(redis_url: str) -> None:
    async with (
        running_controller(redis_url) as client,
        running_workers(client, "w-0", "w-1") as workers,
    ):
        workers[0].hangs.clear()
        await client.plan_where(lambda plan: len(plan.placement) == 2)
        await _until_as_planned(client, workers[1:])
        await client.next_plan()
        await client.next_plan()
        assert len(workers[0].assigned) == 1
        workers[0].hangs.set()
        await _until_as_planned(client, workers)


async def _until_as_planned(client: Client, workers) -> Plan:
    """Wait until each worker holds what it should by the plan in force."""

    async def check() -> Plan | None:
        plan = await client.plan()
        held = plan is not None and all(
            w.worker_id in plan.placement
            and plan.placement[w.worker_id] in w.resident
            and w.assigned
            and w.assigned[-1][0] == plan.placement[w.worker_id]
            for w in workers
        )
        return plan if held else None

    return await eventually(check)
