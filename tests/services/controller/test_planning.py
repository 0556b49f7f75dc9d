"""From reports in Redis to plans, and what keeps the control loop alive."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from diffserve.core import Plan
from diffserve.planning.planner import make_plan
from diffserve.telemetry.records import QueueReport
from services.controller import control_loop
from services.controller.plans import message_from_document
from tests.services.controller.deployment import (
    LEASE_S,
    PERIOD_S,
    Client,
    eventually,
    make_settings,
    renewed,
    running_controller,
    running_loadbalancer,
)

FOUR = ("w-0", "w-1", "w-2", "w-3")


def deferred(plan: Plan) -> float:
    return plan.cascades["mock"].deferral_fraction


async def idle_plan(client: Client) -> Plan:
    """Wait for the plan of an idle fleet of four."""
    return await client.plan_where(lambda p: len(p.placement) == 4 and deferred(p) == 1.0)


async def test_more_demand_means_fewer_deferrals_within_two_periods_and_back(
    redis_url: str,
) -> None:
    async with (
        running_controller(redis_url) as client,
        renewed(client, *FOUR),
        running_loadbalancer(redis_url) as balancer,
    ):
        idle = await idle_plan(client)
        balancer.qps = 40.0
        # The first period that sees the step may hold only a part of it.
        await client.next_plan()
        await client.next_plan()
        busy = await client.next_plan()
        assert busy.cascades["mock"].demand_qps > 25.0
        assert deferred(busy) < deferred(idle)
        balancer.qps = 0.0
        await idle_plan(client)


async def test_a_controller_frozen_in_the_middle_of_a_round_keeps_its_workers(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_controller(redis_url) as client, renewed(client, *FOUR):
        await idle_plan(client)
        save, seen = client.state.store.save_plan, list[int]()

        def freeze(document: str) -> None:
            if not seen:
                time.sleep(LEASE_S + 4 * PERIOD_S)
            seen.append(len(message_from_document(document).placements))

        async def save_and_freeze(plan_id: int, document: str) -> None:
            await save(plan_id, document)
            freeze(document)

        monkeypatch.setattr(client.state.store, "save_plan", save_and_freeze)
        await asyncio.sleep(LEASE_S + 8 * PERIOD_S)
        assert len(seen) > 2
        assert set(seen) == {4}


async def test_demand_that_nobody_can_serve_gets_the_fallback_and_the_loop_goes_on(
    redis_url: str,
) -> None:
    async with (
        running_controller(redis_url) as client,
        renewed(client, *FOUR),
        running_loadbalancer(redis_url, qps=5_000.0) as balancer,
    ):
        plan = await client.plan_where(lambda p: p.status == "infeasible")
        assert set(plan.placement.values()) == {"mock-light"}
        assert (plan.solver, deferred(plan)) == ("fallback", 0.0)
        assert (await client.next_plan()).status == "infeasible"
        balancer.qps = 0.0
        await client.plan_where(lambda p: p.status == "optimal")


async def test_a_load_balancer_with_a_long_past_is_no_demand(redis_url: str) -> None:
    async with running_controller(redis_url) as client, renewed(client, *FOUR):
        await idle_plan(client)
        async with running_loadbalancer(redis_url) as balancer:
            balancer.arrivals = 1_000_000.0
            for _ in range(4):
                plan = await client.next_plan()
                assert plan.cascades["mock"].demand_qps < 1.0
        async with running_loadbalancer(redis_url, incarnation="two"):
            for _ in range(4):
                plan = await client.next_plan()
                assert plan.cascades["mock"].demand_qps < 1.0


async def test_load_balancers_add_up(redis_url: str) -> None:
    async with (
        running_controller(redis_url) as client,
        renewed(client, *FOUR),
        running_loadbalancer(redis_url, qps=20.0),
        running_loadbalancer(redis_url, qps=20.0, name="lb-1"),
    ):
        await client.plan_where(lambda p: p.cascades["mock"].demand_qps > 30.0)

        async def rate_is_right() -> bool:
            return 30.0 < (await client.status()).cascades[0].arrival_qps < 50.0

        await eventually(rate_is_right)


async def test_a_light_queue_adds_to_demand(redis_url: str) -> None:
    async with (
        running_controller(redis_url) as client,
        renewed(client, *FOUR),
        running_loadbalancer(redis_url) as balancer,
    ):
        await idle_plan(client)
        balancer.queues = {"mock-light": QueueReport(length=60, oldest_age_s=1.0, due_qps=30.0)}
        await client.plan_where(lambda p: p.cascades["mock"].demand_qps >= 30.0)


async def test_plans_follow_at_the_period_even_if_nothing_changes(redis_url: str) -> None:
    async with running_controller(redis_url) as client, renewed(client, *FOUR):
        await idle_plan(client)
        first = await client.next_plan()
        began_s = time.monotonic()
        await asyncio.sleep(4.5 * PERIOD_S)
        later = await client.plan()
        num_periods = (time.monotonic() - began_s) / PERIOD_S
        assert later is not None
        assert 2 <= later.plan_id - first.plan_id <= num_periods + 1
        assert later.placement == first.placement


class Stubborn:
    """A planner that does something foolish while told to."""

    def __init__(self) -> None:
        self.num_failures = 0
        self.is_failing = False
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, *args, **kwargs) -> Plan:
        self.gate.wait(20)
        if self.is_failing:
            self.num_failures += 1
            raise RuntimeError("the planner broke")
        return make_plan(*args, **kwargs)


async def test_a_planner_that_raises_leaves_the_last_plan_and_a_living_loop(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    planner = Stubborn()
    async with running_controller(redis_url, planner) as client, renewed(client, *FOUR):
        plan = await idle_plan(client)
        planner.is_failing = True

        async def failed_thrice() -> bool:
            return planner.num_failures >= 3

        await eventually(failed_thrice)
        still = await client.plan()
        assert still is not None
        assert still.placement == plan.placement
        assert "the planner broke" in caplog.text
        assert "Traceback" in caplog.text
        async with renewed(client, "w-4"):
            planner.is_failing = False
            await client.plan_where(lambda p: "w-4" in p.placement)


async def test_a_planner_that_hangs_is_left_alone_until_it_returns(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(control_loop, "SOLVE_MARGIN_S", -0.3)
    planner = Stubborn()
    async with running_controller(redis_url, planner) as client, renewed(client, *FOUR):
        before = await idle_plan(client)
        planner.gate.clear()
        try:

            async def noticed() -> bool:
                return "still runs" in caplog.text

            await eventually(noticed)
            during = await client.plan()
            assert during is not None
            assert during.plan_id <= before.plan_id + 1
        finally:
            planner.gate.set()
        await client.next_plan()
        await client.next_plan()


async def test_no_empty_plan_before_workers_had_time_to_come(redis_url: str) -> None:
    async with running_controller(redis_url) as client:
        await asyncio.sleep(2 * PERIOD_S)
        assert await client.plan() is None
        await client.plan_where(lambda p: not p.placement and "no worker" in p.reason)


async def test_the_solver_of_the_settings_is_used(redis_url: str) -> None:
    async with running_controller(redis_url, solver="cbc") as client, renewed(client, *FOUR):
        assert (await client.status()).solver == "cbc"
        plan = await client.plan_where(lambda p: len(p.placement) == 4)
        assert (plan.solver, plan.status) == ("cbc", "optimal")
        assert plan.solve_s > 0.0


async def test_the_objective_of_the_settings_is_used(redis_url: str) -> None:
    assert make_settings(redis_url, objective="threshold").objective == "threshold"
    async with (
        running_controller(redis_url, objective="threshold") as client,
        renewed(client, *FOUR),
    ):
        plan = await client.plan_where(lambda p: len(p.placement) == 4)
        # By quality, an idle fleet defers everything; by threshold, what the best point defers.
        assert plan.cascades["mock"].confidence_threshold > 0.0
