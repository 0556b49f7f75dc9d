"""Cascades activated at run time: checked, planned, kept over a restart."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from diffserve.activation import Activation
from diffserve.core import Plan
from diffserve.rpc.v1 import admin_pb2
from services.controller.overrides import Overrides
from tests.catalogs import FURTHER, RUNNING
from tests.services.controller.deployment import (
    Client,
    eventually,
    renewed,
    running_controller,
    running_loadbalancer,
)

WORKERS = ("w-0", "w-1", "w-2", "w-3")


@pytest.fixture
def catalog(tmp_path: Path) -> str:
    path = tmp_path / "running.toml"
    path.write_text(RUNNING)
    return str(path)


async def activate(
    client: Client, text: str, cascade_id: str = ""
) -> admin_pb2.ActivateCascadesResponse:
    request = admin_pb2.ActivateCascadesRequest(
        catalog=text, name="new.toml", cascade_id=cascade_id
    )
    return await client.admin.ActivateCascades(request, timeout=5)


async def listed(client: Client) -> dict[str, bool]:
    """Return the cascades, and whether each is the default."""
    answer = await client.admin.ListCascades(admin_pb2.ListCascadesRequest(), timeout=5)
    return {cascade.cascade_id: cascade.is_default for cascade in answer.cascades}


def carries_far(plan: Plan) -> bool:
    return bool(plan.activation) and "far" in plan.cascades


async def test_an_activated_cascade_is_planned_and_told_to_every_load_balancer(
    redis_url: str, catalog: str
) -> None:
    async with (
        running_controller(redis_url, catalog=catalog) as client,
        renewed(client, *WORKERS),
    ):
        before = await client.plan_where(lambda p: len(p.placement) == 4)
        assert (before.activation, set(before.cascades)) == ("", {"near"})
        early = client.watch()
        await early.read()
        answer = await activate(client, FURTHER)
        assert (list(answer.added), answer.default_cascade) == (["far"], "far")
        assert not answer.planning_paused
        plan = await client.plan_where(carries_far)
        asked = await client.admin.WhatIf(admin_pb2.WhatIfRequest(qps=5.0), timeout=10)
        assert asked.plan.activation == plan.activation
        assert "far is activated as the default cascade" in plan.reason
        assert await listed(client) == {"near": False, "far": True}
        assert {c.cascade_id for c in (await client.status()).cascades} == {"near", "far"}
        # One that follows already, and one that starts later.
        late = client.watch()
        message = await late.read()
        while not message.activation:
            message = await early.read()
        for text in (message.activation, (await late.read()).activation):
            activation = Activation.from_json(text)
            assert (activation.default_cascade, set(activation.cascade)) == ("far", {"far"})
        early.cancel()
        late.cancel()


async def test_an_activation_survives_a_restart_and_can_be_taken_back(
    redis_url: str, catalog: str
) -> None:
    async with (
        running_controller(redis_url, catalog=catalog) as client,
        renewed(client, *WORKERS),
    ):
        await activate(client, FURTHER)
        before = await client.plan_where(carries_far)
    async with (
        running_controller(redis_url, catalog=catalog) as client,
        renewed(client, *WORKERS),
    ):
        assert await listed(client) == {"near": False, "far": True}
        plan = await client.next_plan()
        assert plan.activation == before.activation
        answer = await activate(client, RUNNING)
        assert (list(answer.added), answer.default_cascade) == ([], "near")
        plan = await client.plan_where(lambda p: p.activation != before.activation)
        # What was activated can still be named.
        assert set(Activation.from_json(plan.activation).cascade) == {"far"}
        assert await listed(client) == {"near": True, "far": False}


async def test_a_cap_survives_activation_and_restart_and_gives_way_to_a_pin(
    redis_url: str, catalog: str
) -> None:
    capped = FURTHER.replace("slo_s = 3.0", "slo_s = 3.0\ndeferral_max = 0.24")
    async with (
        running_controller(redis_url, catalog=catalog) as client,
        renewed(client, *WORKERS),
    ):
        await activate(client, capped)
        plan = await client.plan_where(carries_far)
        assert plan.cascades["far"].deferral_target == pytest.approx(0.24)
        assert plan.cascades["near"].deferral_target > 0.24
    async with (
        running_controller(redis_url, catalog=catalog) as client,
        renewed(client, *WORKERS),
    ):
        answer = await client.admin.ListCascades(admin_pb2.ListCascadesRequest(), timeout=5)
        assert {c.cascade_id: c.deferral_max for c in answer.cascades} == {"near": 1.0, "far": 0.24}
        assert "deferral_max keeps far at no more than 24 %" in (await client.next_plan()).reason
        pin = admin_pb2.PinThresholdRequest(cascade_id="far", share=0.5)
        await client.admin.PinThreshold(pin, timeout=5)
        plan = await client.plan_where(lambda p: p.cascades["far"].is_pinned)
        assert plan.cascades["far"].deferral_target == 0.5


async def test_the_demand_of_the_former_default_is_expected_at_the_new_one(
    redis_url: str, catalog: str
) -> None:
    async with (
        running_controller(redis_url, catalog=catalog) as client,
        running_loadbalancer(redis_url) as balancer,
        renewed(client, *WORKERS),
    ):
        balancer.cascade_id, balancer.qps = "near", 20.0
        await client.plan_where(lambda p: len(p.placement) == 4)

        async def is_measured() -> bool:
            return client.state.observer.mean_qps("near") > 15.0

        await eventually(is_measured)
        await activate(client, FURTHER)
        balancer.cascade_id, balancer.arrivals = "far", 0.0
        plan = await client.plan_where(carries_far)
        assert plan.cascades["far"].demand_qps > 15.0
        assert plan.cascades["near"].demand_qps < 5.0


async def test_a_file_that_does_not_fit_is_refused_and_changes_nothing(
    redis_url: str, catalog: str
) -> None:
    async with (
        running_controller(redis_url, catalog=catalog) as client,
        renewed(client, *WORKERS),
    ):
        for text, name, says in (
            ("", "", "catalog: new.toml: default_cascade: Field required"),
            (FURTHER.replace("mid", "other"), "", "new.toml: cascade.far.light: .* no 'other'"),
            (FURTHER, "nosuch", "new.toml: no cascade 'nosuch'"),
        ):
            with pytest.raises(grpc.aio.AioRpcError, match=says) as caught:
                await activate(client, text, name)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert await listed(client) == {"near": True}
        assert (await client.next_plan()).activation == ""


async def test_an_activation_that_no_longer_fits_stops_nothing(
    redis_url: str, catalog: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        running_controller(redis_url, catalog=catalog) as client,
        renewed(client, *WORKERS),
    ):
        await activate(client, FURTHER)
        await client.plan_where(carries_far)
    async with (
        running_controller(redis_url, catalog="mock") as client,
        renewed(client, *WORKERS),
    ):
        plan = await client.plan_where(lambda p: set(p.cascades) == {"mock"})
        assert plan.activation == ""
    assert "does not fit the catalog" in caplog.text


def test_orders_are_kept_as_they_are() -> None:
    activation = Activation(default_cascade="near")
    kept = Overrides(slo_s={"near": 1.0}, activation=activation)
    assert Overrides.from_json(kept.to_json()) == kept
    with pytest.raises(ValueError):
        Overrides.from_json('{"activation": "{broken"}')
    newer = kept.with_pins(["near"], 0.5)
    assert (newer.slo_s, newer.activation) == ({"near": 1.0}, activation)
