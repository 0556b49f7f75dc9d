"""All services as processes, with sleeping workers: re-planning and survival."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from diffserve.rpc.v1 import admin_pb2
from tests.e2e.node import node_is_installed, run_node_client
from tests.e2e.stack import Load, Stack, offer, running_stack

PROMPTS = [f"prompt number {index}" for index in range(2000)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("mock")
    catalog = Path(__file__).with_name("slow.toml")
    with running_stack(directory, f"--catalog={catalog}", "--workers=3") as running:
        yield running


def workers_on(status: admin_pb2.Status, variant_id: str) -> list[str]:
    return [row.worker_id for row in status.plan.placements if row.variant_id == variant_id]


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.1)


async def serves_again(stack: Stack, worker_id: str, old_pid: int) -> bool:
    """Return whether a new process of this name runs and is in the plan."""
    try:
        is_new = stack.pid(worker_id) != old_pid
    except AssertionError:
        return False
    workers = (await stack.status()).workers
    ages = {worker.worker_id: worker.lease_age_s for worker in workers}
    return is_new and ages.get(worker_id, 9.0) < 2.0 and "serving on" in stack.log(worker_id)


async def test_client_redis_and_admin_tell_the_same_story(stack: Stack) -> None:
    before = await stack.status()
    load = await offer(stack, PROMPTS[:80], rate_qps=8)
    assert not load.errors
    assert len(load.responses) == 80
    assert {"light", "heavy"} <= set(load.outcomes())
    await asyncio.sleep(1.0)
    after = await stack.status()
    was, now = before.cascades[0], after.cascades[0]
    counted = {
        name: now.outcomes[name] - was.outcomes[name] for name in now.outcomes if now.outcomes[name]
    }
    assert {name: n for name, n in counted.items() if n} == dict(load.outcomes())
    assert now.num_arrivals - was.num_arrivals == 80
    assert now.num_in_progress == 0
    assert now.light_queue_length == now.heavy_queue_length == 0
    shown = stack.cli("plan", "show", "--address", stack.controller)
    assert int(shown["plan_id"]) >= after.plan.plan_id


async def test_load_changes_the_plan_within_two_periods_and_back(stack: Stack) -> None:
    await asyncio.sleep(6.0)
    idle = await stack.status()
    period_s = idle.planning_period_s
    high = asyncio.create_task(offer(stack, PROMPTS[:200], rate_qps=16))
    await asyncio.sleep(2 * period_s + 0.5)
    busy = await stack.status()
    assert busy.plan.cascades[0].deferral_fraction < idle.plan.cascades[0].deferral_fraction
    assert len(workers_on(busy, "mock-light")) > len(workers_on(idle, "mock-light"))
    load: Load = await high
    assert not load.errors
    await asyncio.sleep(6 * period_s)  # the estimate comes down slower than it goes up
    calm = await stack.status()
    assert calm.plan.cascades[0].deferral_fraction > busy.plan.cascades[0].deferral_fraction
    assert len(workers_on(calm, "mock-light")) == len(workers_on(idle, "mock-light"))


async def survives(stack: Stack, seconds: float, harm: object) -> Load:
    """Offer a steady load while ``harm`` (a coroutine) happens after a second."""
    rate_qps = 4.0
    num = int(seconds * rate_qps)
    task = asyncio.create_task(offer(stack, PROMPTS[:num], rate_qps))
    await asyncio.sleep(1.0)
    await harm  # type: ignore[misc]
    load = await task
    assert not load.errors, load.errors[0]
    assert len(load.responses) == num
    return load


async def test_killed_worker_loses_no_query(stack: Stack) -> None:
    async def harm() -> None:
        for variant_id in ("mock-light", "mock-heavy"):
            victim = workers_on(await stack.status(), variant_id)[0]
            old_pid = stack.pid(victim)
            os.kill(old_pid, signal.SIGKILL)
            await until(partial(serves_again, stack, victim, old_pid), 20)

    await survives(stack, 15.0, harm())


async def test_controller_restart_loses_no_query(stack: Stack) -> None:
    before = (await stack.status()).plan

    async def harm() -> None:
        os.kill(stack.pid("controller"), signal.SIGKILL)
        await asyncio.sleep(3.0)

    await survives(stack, 8.0, harm())
    after = (await stack.status()).plan
    assert after.plan_id > before.plan_id
    assert len(after.placements) == 3


async def test_discriminator_restart_loses_no_query(stack: Stack) -> None:
    async def harm() -> None:
        os.kill(stack.pid("discriminator"), signal.SIGKILL)
        await asyncio.sleep(2.0)

    await survives(stack, 6.0, harm())


async def test_redis_paused_for_20_s_loses_no_query(stack: Stack) -> None:
    pid = stack.pid("redis")

    async def harm() -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(10.0)
            frozen = await stack.status()
            assert not frozen.redis_connected
            assert frozen.telemetry_age_s > 5.0
            await asyncio.sleep(10.0)
        finally:
            os.kill(pid, signal.SIGCONT)

    before = (await stack.status()).plan.plan_id
    await survives(stack, 24.0, harm())
    for _ in range(50):
        status = await stack.status()
        if status.redis_connected and status.plan.plan_id > before:
            return
        await asyncio.sleep(0.1)
    pytest.fail("the controller did not reconnect to Redis within 5 s")


def test_a_client_by_reflection_alone(stack: Stack) -> None:
    with grpc.insecure_channel(stack.door) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        assert {"diffserve.rpc.v1.ImageGeneration", "grpc.health.v1.Health"} <= services
        pool = DescriptorPool(database)
        service = pool.FindServiceByName("diffserve.rpc.v1.ImageGeneration")
        method = service.methods_by_name["Generate"]
        request = GetMessageClass(method.input_type)()
        request.parameters.prompt = "drawn by reflection"  # type: ignore[attr-defined]
        answer = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )(request, timeout=30)
        assert answer.image.data.startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["controller", "discriminator", "worker-0"])
def test_every_service_has_health_and_reflection(stack: Stack, name: str) -> None:
    with grpc.insecure_channel(stack.ready["endpoints"][name]) as channel:
        services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    assert "grpc.health.v1.Health" in services
    assert any(service.startswith("diffserve.rpc.v1.") for service in services)


def test_log_directory_is_told(stack: Stack) -> None:
    assert Path(stack.ready["run_directory"]).is_dir()
    assert "serving on" in stack.log("loadbalancer")


def test_a_node_client_from_the_proto_files_alone(stack: Stack) -> None:
    if not node_is_installed():
        pytest.skip("node and npm are not installed")
    told = run_node_client(stack)
    assert told["is_png"]
    assert told["seed"] == "7"
    assert told["variant_id"].startswith("mock-")
    assert told["events"][0] == "queued"
    assert told["events"][-1] == "done"
    assert told["finished"] == [[0, "7"], [1, "8"]]
    assert "parameters.prompt" in told["refusal"]
