"""What operators order: SLOs, pinned shares, restarts; and what they ask: history, what-if."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from diffserve.rpc.v1 import (
    admin_pb2,
    controller_pb2,
    generation_pb2,
    generation_pb2_grpc,
    worker_pb2,
)
from services.controller.overrides import Overrides
from tests.services.controller.deployment import (
    Client,
    ScriptedWorker,
    eventually,
    renewed,
    running_controller,
    running_workers,
)


async def set_slo(client: Client, slo_s: float | None, name: str = "") -> admin_pb2.SetSloResponse:
    request = admin_pb2.SetSloRequest(cascade_id=name, slo_s=slo_s)
    return await client.admin.SetSlo(request, timeout=5)


async def pin(client: Client, share: float | None, name: str = "") -> None:
    request = admin_pb2.PinThresholdRequest(cascade_id=name, share=share)
    await client.admin.PinThreshold(request, timeout=5)


async def what_if(client: Client, **fields: object) -> admin_pb2.WhatIfResponse:
    return await client.admin.WhatIf(admin_pb2.WhatIfRequest(**fields), timeout=10)


async def history(client: Client, limit: int = 0) -> list[admin_pb2.PlanSummary]:
    response = await client.admin.ListPlans(admin_pb2.ListPlansRequest(limit=limit), timeout=5)
    return list(response.plans)


async def test_an_slo_travels_with_the_plan_and_survives_a_restart(redis_url: str) -> None:
    async with running_controller(redis_url) as client, renewed(client, "w-0", "w-1"):
        await client.plan_where(lambda p: p.cascades["mock"].slo_s == 2.0)
        answer = await set_slo(client, 3.5)
        assert (list(answer.cascade_ids), answer.slo_s) == (["mock"], 3.5)
        assert not answer.planning_paused
        assert answer.both_variants_s == pytest.approx(0.22)
        assert answer.light_variant_s == pytest.approx(0.02)
        plan = await client.plan_where(lambda p: p.cascades["mock"].slo_s == 3.5)
        assert "SLO of mock is set to 3.5 s" in plan.reason
        (cascade,) = (await client.status()).cascades
        assert (cascade.slo_s, cascade.slo_is_set) == (3.5, True)
    async with running_controller(redis_url) as client, renewed(client, "w-0", "w-1"):
        await client.next_plan()
        await client.plan_where(lambda p: p.cascades["mock"].slo_s == 3.5)
        assert (await set_slo(client, None)).slo_s == 2.0
        plan = await client.plan_where(lambda p: p.cascades["mock"].slo_s == 2.0)
        assert "SLO" not in plan.reason
        assert not (await client.status()).cascades[0].slo_is_set


async def test_a_pinned_share_is_planned_and_shown_until_unpinned(redis_url: str) -> None:
    workers = ("w-0", "w-1", "w-2")
    async with running_controller(redis_url) as client, renewed(client, *workers):
        await pin(client, 0.3, "mock")
        plan = await client.plan_where(lambda p: p.cascades["mock"].is_pinned)
        cascade = plan.cascades["mock"]
        assert (cascade.deferral_fraction, cascade.deferral_target) == (0.3, 0.3)
        assert {v for w in workers for v in plan.variants_of(w)} == {"mock-light", "mock-heavy"}
        assert "pinned at 30 %" in plan.reason
        assert (await client.status()).cascades[0].pinned_share == 0.3
    async with running_controller(redis_url) as client, renewed(client, *workers):
        await client.next_plan()
        await client.plan_where(lambda p: p.cascades["mock"].is_pinned)
        await pin(client, None)
        await client.plan_where(lambda p: not p.cascades["mock"].is_pinned)
        assert not (await client.status()).cascades[0].HasField("pinned_share")


async def test_wrong_orders_name_the_field(redis_url: str) -> None:
    async with running_controller(redis_url) as client:
        for call, says in (
            (set_slo(client, 0.0), "slo_s: must be"),
            (set_slo(client, float("nan")), "slo_s: must be"),
            (set_slo(client, float("inf")), "slo_s: must be above 0 and at most 86400"),
            (set_slo(client, 1.0, "nosuch"), "cascade_id: no cascade 'nosuch'; there is mock"),
            (pin(client, 1.5), "share: must be from 0 to 1"),
            (pin(client, float("nan")), "share: must be from 0 to 1"),
            (pin(client, 0.5, "nosuch"), "cascade_id: no cascade"),
            (what_if(client, qps=-1.0), "qps: must be"),
            (what_if(client, num_workers=0), "num_workers: must be"),
            (what_if(client, cascade_id="nosuch"), "cascade_id: no cascade"),
            (history(client, -1), "limit: must be"),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=says) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_history_joins_plans_that_say_the_same(redis_url: str) -> None:
    async with running_controller(redis_url) as client:
        async with renewed(client, "w-0"):
            first = await client.plan_where(lambda p: len(p.placement) == 1)
            await client.next_plan()
            async with renewed(client, "w-1"):
                await client.plan_where(lambda p: len(p.placement) == 2)
                rows = await history(client)
        joined = next(row for row in rows if row.plan_id <= first.plan_id <= row.last_plan_id)
        assert joined.last_plan_id > joined.plan_id
        ids = [row.plan_id for row in rows]
        assert ids == sorted(ids, reverse=True)
        assert sum(rows[0].workers.values()) == 2
        assert rows[0].age_s <= joined.age_s
        assert joined.held_s <= joined.age_s
        assert len(await history(client, 1)) == 1
        request = admin_pb2.GetPlanRequest(plan_id=joined.plan_id)
        past = await client.admin.GetPlan(request, timeout=5)
        assert past.plan_id == joined.plan_id


async def test_what_if_plans_for_others_and_changes_nothing(redis_url: str) -> None:
    async with running_controller(redis_url) as client, renewed(client, "w-0", "w-1"):
        before = await client.plan_where(lambda p: len(p.placement) == 2)
        answer = await what_if(client, qps=40.0, num_workers=8)
        assert (answer.qps, answer.num_workers) == (40.0, 8)
        assert len(answer.plan.placements) == 8
        assert answer.plan.cascades[0].demand_qps > 40.0
        few = await what_if(client, qps=40.0, num_workers=2)
        assert few.plan.cascades[0].deferral_fraction < answer.plan.cascades[0].deferral_fraction
        as_it_is = await what_if(client)
        assert (as_it_is.qps, as_it_is.num_workers) == (0.0, 2)
        after = await client.plan()
        assert after is not None
        assert after.placement == before.placement


class RestartingWorker(ScriptedWorker):
    """Also takes the order to restart."""

    def __init__(self, worker_id: str) -> None:
        super().__init__(worker_id)
        self.restarts = 0

    async def Restart(self, request, context):
        self.restarts += 1
        return worker_pb2.RestartResponse(exit_status=75, num_running=0)


async def test_a_restart_takes_the_old_process_out_of_the_plan_only(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.services.controller.deployment.ScriptedWorker", RestartingWorker)
    async with (
        running_controller(redis_url) as client,
        running_workers(client, "w-0", "w-1") as workers,
    ):
        await client.plan_where(lambda p: len(p.placement) == 2)
        request = admin_pb2.RestartWorkerRequest(worker_id="w-0")
        answer = await client.admin.RestartWorker(request, timeout=5)
        assert (answer.exit_status, answer.worker.incarnation) == (75, "w-0-first")
        await client.plan_where(lambda p: set(p.placement) == {"w-1"})
        await client.register("w-0", workers[0].address, incarnation="w-0-second")
        await client.plan_where(lambda p: len(p.placement) == 2)


async def test_restarting_the_unknown_and_the_unreachable(redis_url: str) -> None:
    async def restart(worker_id: str) -> None:
        request = admin_pb2.RestartWorkerRequest(worker_id=worker_id)
        await client.admin.RestartWorker(request, timeout=5)

    async with running_controller(redis_url) as client, renewed(client, "w-0"):
        await client.plan_where(lambda p: len(p.placement) == 1)
        with pytest.raises(grpc.aio.AioRpcError, match="'w-7'"):
            await restart("w-7")
        with pytest.raises(grpc.aio.AioRpcError, match="nothing has changed"):
            await restart("w-0")
        assert not (await client.status()).workers[0].draining


class ScriptedDoor(generation_pb2_grpc.ImageGenerationServicer):
    """Remembers one query."""

    def __init__(self, query_id: str) -> None:
        self.query_id = query_id

    async def GetQuery(self, request, context):
        if request.query_id != self.query_id:
            await context.abort(grpc.StatusCode.NOT_FOUND, "not known")
        return generation_pb2.QueryRecord(query_id=request.query_id, phase="done")


async def test_a_query_is_found_at_the_load_balancer_that_knows_it(redis_url: str) -> None:
    async def find(query_id: str) -> admin_pb2.FindQueryResponse:
        request = admin_pb2.FindQueryRequest(query_id=query_id)
        return await client.admin.FindQuery(request, timeout=5)

    async with running_controller(redis_url) as client, renewed(client, "w-0"):
        with pytest.raises(grpc.aio.AioRpcError, match="no load balancer"):
            await find("q-1")
        servers, watches = [], []
        for name in ("lb-0", "lb-1"):
            server = grpc.aio.server()
            query_id = name.replace("lb", "q")
            generation_pb2_grpc.add_ImageGenerationServicer_to_server(
                ScriptedDoor(query_id), server
            )
            address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
            await server.start()
            servers.append(server)
            watch = controller_pb2.WatchPlanRequest(watcher_id=name, address=address)
            watches.append(client.controller.WatchPlan(watch))
            await watches[-1].read()
        answer = await find("q-1")
        assert (answer.loadbalancer_id, answer.record.phase) == ("lb-1", "done")
        with pytest.raises(grpc.aio.AioRpcError, match="to lb-0, lb-1") as caught:
            await find("q-7")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        await servers[0].stop(None)
        with pytest.raises(grpc.aio.AioRpcError, match=r"lb-0 at .*UNAVAILABLE") as caught:
            await find("q-7")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        watches[0].cancel()

        async def is_forgotten() -> bool:
            return len(client.state.watchers) == 1

        await eventually(is_forgotten)
        watches[1].cancel()
        await servers[1].stop(None)
        await asyncio.sleep(0)


def test_unreadable_overrides_are_refused() -> None:
    kept = Overrides(slo_s={"a": 1.0}, pins={"b": 0.5})
    assert Overrides.from_json(kept.to_json()) == kept
    for text in ("[]", '{"slo_s": {"a": "x"}}', "no json"):
        with pytest.raises(ValueError):
            Overrides.from_json(text)


async def test_a_pin_without_a_name_is_for_all_of_the_default_class(redis_url: str) -> None:
    async with running_controller(redis_url, catalog="hadis") as client:
        request = admin_pb2.PinThresholdRequest(share=0.4)
        answer = await client.admin.PinThreshold(request, timeout=5)
        assert set(answer.cascade_ids) == set(client.state.catalog.classes["hadis"].cascade_ids)
        shares = {c.cascade_id: c.pinned_share for c in (await client.status()).cascades}
        assert set(shares.values()) == {0.4}
        one = admin_pb2.PinThresholdRequest(cascade_id="hadis-lightning-turbo")
        assert list((await client.admin.PinThreshold(one, timeout=5)).cascade_ids) == [
            "hadis-lightning-turbo"
        ]
        pinned = [
            c.cascade_id for c in (await client.status()).cascades if c.HasField("pinned_share")
        ]
        assert len(pinned) == len(shares) - 1
