"""The store against a real server: round trips, lifetimes, the schema, a server that hangs."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from diffserve.core import Population, WorkerInfo
from diffserve.telemetry import keys
from diffserve.telemetry.records import CascadeReport, LoadBalancerReport, QueueReport
from diffserve.telemetry.store import STORE_ERRORS, TelemetryStore

WORKERS = (
    WorkerInfo(worker_id="w-0", address="host:1", device="cpu", resident=("a", "b")),
    WorkerInfo(
        worker_id="w-1",
        address="host:2",
        device="cuda:0",
        is_draining=True,
        device_type="A100",
        memory_bytes_max=7,
    ),
)


def make_report(name: str = "lb-0", num_arrivals: int = 7) -> LoadBalancerReport:
    return LoadBalancerReport(
        loadbalancer_id=name,
        incarnation="abc",
        plan_id=3,
        queues={
            "light": QueueReport(length=2, oldest_age_s=0.5, due_qps=0.25),
            "owner/heavy:fp16": QueueReport(length=0, oldest_age_s=0.0),
        },
        cascades={
            "c": CascadeReport(num_arrivals=num_arrivals, num_in_progress=1, outcomes={"light": 5}),
            "d": CascadeReport(num_arrivals=0, num_in_progress=0),
        },
    )


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[TelemetryStore]:
    store = TelemetryStore(redis_url)
    yield store
    await store.close()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


async def use_everything(store: TelemetryStore) -> None:
    await store.publish_report(make_report())
    plan_id = await store.next_plan_id()
    await store.save_plan(plan_id, "{}")
    await store.save_paused(True)
    await store.save_overrides("{}")
    await store.save_workers(WORKERS)
    await store.save_profile("cpu", "light", {1: 0.1})
    await store.save_sketch(Population("d", "v"), [0.5])
    await store.save_calibration(Population("d", "v"), "{}")


async def test_reports_come_back_sorted_and_complete(store: TelemetryStore) -> None:
    before_s = time.time()
    await store.publish_report(make_report("lb-1"))
    await store.publish_report(make_report("lb-0"))
    first, second = await store.read_reports()
    assert (first.loadbalancer_id, second.loadbalancer_id) == ("lb-0", "lb-1")
    expected = make_report("lb-0")
    assert first.queues == expected.queues
    assert first.cascades == expected.cascades
    assert (first.incarnation, first.plan_id) == ("abc", 3)
    assert before_s - 0.1 <= second.reported_unix_s <= first.reported_unix_s <= time.time() + 0.1


async def test_a_report_replaces_the_one_before(store: TelemetryStore) -> None:
    await store.publish_report(make_report())
    bare = LoadBalancerReport(
        loadbalancer_id="lb-0", incarnation="def", plan_id=0, queues={}, cascades={}
    )
    await store.publish_report(bare)
    (report,) = await store.read_reports()
    assert (report.incarnation, report.queues, report.cascades) == ("def", {}, {})


async def test_no_reports_without_load_balancers(store: TelemetryStore) -> None:
    assert await store.read_reports() == ()


async def test_a_report_that_cannot_be_read_leaves_the_others(
    store: TelemetryStore, client: redis.asyncio.Redis
) -> None:
    for name in ("lb-0", "lb-1", "lb-2"):
        await store.publish_report(make_report(name))
    await client.hdel(keys.LOADBALANCER.of("lb-0"), "incarnation")
    await client.hset(keys.LOADBALANCER.of("lb-1"), "plan_id", "many")
    assert [r.loadbalancer_id for r in await store.read_reports()] == ["lb-2"]


async def test_an_expired_report_is_left_out(
    store: TelemetryStore, client: redis.asyncio.Redis
) -> None:
    await store.publish_report(make_report("lb-0"))
    await store.publish_report(make_report("lb-1"))
    await client.delete(keys.LOADBALANCER.of("lb-0"))
    assert [r.loadbalancer_id for r in await store.read_reports()] == ["lb-1"]


async def test_load_balancers_long_gone_are_dropped_from_the_list(
    store: TelemetryStore, client: redis.asyncio.Redis
) -> None:
    await client.zadd(keys.LOADBALANCERS.of(), {"old": time.time() - 3700.0, "newer": 1e12})
    await store.publish_report(make_report())
    assert [r.loadbalancer_id for r in await store.read_reports()] == ["lb-0"]
    assert await client.zrange(keys.LOADBALANCERS.of(), 0, -1) == ["lb-0"]


async def test_load_balancers_whose_clocks_are_hours_apart_are_both_read(
    store: TelemetryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = time.time()
    for name, ahead_s in (("lb-0", 0.0), ("lb-1", 9000.0)):
        monkeypatch.setattr(time, "time", lambda ahead_s=ahead_s: now_s + ahead_s)
        await store.publish_report(make_report(name))
    assert [r.loadbalancer_id for r in await store.read_reports()] == ["lb-0", "lb-1"]


async def test_plan_ids_increase_and_respect_what_the_caller_knows(store: TelemetryStore) -> None:
    assert [await store.next_plan_id(), await store.next_plan_id(1)] == [1, 2]
    assert await store.next_plan_id(after=41) == 42
    assert await store.next_plan_id(after=41) == 43


async def test_plan_ids_are_unique_under_concurrency(store: TelemetryStore) -> None:
    ids = await asyncio.gather(*(store.next_plan_id(after=100) for _ in range(20)))
    assert len(set(ids)) == 20
    assert min(ids) > 100


async def test_plans(store: TelemetryStore) -> None:
    assert await store.load_plan() is None
    await store.save_plan(1, '{"plan_id": "1"}')
    await store.save_plan(2, '{"plan_id": "2"}')
    assert await store.load_plan() == await store.load_plan(2) == '{"plan_id": "2"}'
    assert await store.load_plan(1) == '{"plan_id": "1"}'
    assert await store.load_plan(3) is None


async def test_plan_age(store: TelemetryStore, client: redis.asyncio.Redis) -> None:
    await store.save_plan(1, "{}")
    assert 0.0 <= await store.plan_age_s(1) < 5.0
    await client.expire(keys.PLAN.of(1), 3500)
    assert 99.0 <= await store.plan_age_s(1) <= 105.0
    assert await store.plan_age_s(2) == keys.PLAN.ttl_s


async def test_pause_switch(store: TelemetryStore) -> None:
    assert await store.load_paused() is False
    for paused in (True, False):
        await store.save_paused(paused)
        assert await store.load_paused() is paused


async def test_what_operators_decided(store: TelemetryStore) -> None:
    assert await store.load_overrides() is None
    await store.save_overrides('{"pins": {}}')
    assert await store.load_overrides() == '{"pins": {}}'


async def test_workers_are_replaced_as_a_whole(store: TelemetryStore) -> None:
    assert await store.load_workers() == ()
    await store.save_workers(WORKERS)
    assert await store.load_workers() == WORKERS
    await store.save_workers(WORKERS[1:])
    assert await store.load_workers() == WORKERS[1:]
    await store.save_workers(())
    assert await store.load_workers() == ()


async def test_profiles_merge_by_batch_size(store: TelemetryStore) -> None:
    assert await store.load_profile("cpu", "light") == {}
    await store.save_profile("cpu", "light", {16: 1.5, 2: 0.25})
    await store.save_profile("cpu", "light", {2: 0.5, 1: 0.125})
    await store.save_profile("cuda", "light", {1: 0.01})
    assert await store.load_profile("cpu", "light") == {1: 0.125, 2: 0.5, 16: 1.5}


async def test_sketches(store: TelemetryStore) -> None:
    one, other = Population("d", "v"), Population("d", "w")
    assert await store.load_sketch(one) == []
    await store.save_sketch(one, [0.25, 0.5, 0.125])
    assert await store.load_sketch(one) == [0.25, 0.5, 0.125]
    assert await store.load_sketch(other) == []


@pytest.mark.parametrize(
    ("key", "identity"),
    [
        (keys.LOADBALANCERS, ""),
        (keys.LOADBALANCER, "lb-0"),
        (keys.PLAN_NEXT_ID, ""),
        (keys.PLAN_CURRENT, ""),
        (keys.PLAN, 1),
        (keys.PLANNING_PAUSED, ""),
        (keys.WORKERS, ""),
        (keys.PROFILE, "cpu:light"),
        (keys.SKETCH, "d:v"),
        (keys.CALIBRATION, "d:v"),
    ],
    ids=lambda value: getattr(value, "pattern", None),
)
async def test_type_and_lifetime_are_those_of_the_table(
    store: TelemetryStore, client: redis.asyncio.Redis, key: keys.Key, identity: object
) -> None:
    await use_everything(store)
    assert await client.type(key.of(identity)) == key.kind
    remaining_s = await client.ttl(key.of(identity))
    if key.ttl_s is None:
        assert remaining_s == -1
    else:
        assert key.ttl_s - 5 <= remaining_s <= key.ttl_s


async def test_every_key_is_in_the_table(
    store: TelemetryStore, client: redis.asyncio.Redis
) -> None:
    await use_everything(store)
    rows = [re.escape(keys.PREFIX + k.pattern).replace(r"\{\}", ".+") for k in keys.SCHEMA]
    touched = [name async for name in client.scan_iter()]
    assert len(touched) == len(keys.SCHEMA)
    for row in rows:
        assert any(re.fullmatch(row, name) for name in touched), row
    for name in touched:
        assert any(re.fullmatch(row, name) for row in rows), name


async def test_a_hung_server_fails_calls_soon_and_serves_again_afterwards(
    store: TelemetryStore, redis_server
) -> None:
    await use_everything(store)
    redis_server.process.send_signal(signal.SIGSTOP)
    try:
        for call in (store.read_reports, store.next_plan_id):
            began_s = time.monotonic()
            with pytest.raises(STORE_ERRORS):
                await call()
            assert time.monotonic() - began_s < 1.5
    finally:
        redis_server.process.send_signal(signal.SIGCONT)
    await store.ping()
    assert len(await store.read_reports()) == 1
    assert await store.load_workers() == WORKERS


async def test_a_cancelled_task_ends_wherever_it_is(store: TelemetryStore) -> None:
    async def use_for_ever() -> None:
        while True:
            await use_everything(store)

    for step in range(100):
        task = asyncio.create_task(use_for_ever())
        await asyncio.sleep(step * 0.0001)
        task.cancel()
        _, pending = await asyncio.wait({task}, timeout=5)
        assert not pending


async def test_no_server_at_all_is_a_store_error() -> None:
    store = TelemetryStore("redis://127.0.0.1:1/0")
    with pytest.raises(STORE_ERRORS):
        await store.ping()
    await store.close()


async def test_calibrations(store: TelemetryStore) -> None:
    assert await store.load_calibrations([]) == {}
    one, other = Population("d", "v"), Population("d", "w")
    assert await store.load_calibrations([one, other]) == {}
    await store.save_calibration(other, '{"num_scores": 3}')
    assert await store.load_calibrations([one, other]) == {other: '{"num_scores": 3}'}
