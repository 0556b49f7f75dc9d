"""Which workers serve: placed, resident, reachable, not draining."""

from __future__ import annotations

from dataclasses import replace

import pytest

from diffserve.core import Batch, CascadeStage
from diffserve.policy.fleet import Fleet
from diffserve.policy.pool import Pool
from diffserve.profiles.latency import LatencyProfile
from tests.unit.policy import mixture
from tests.unit.policy.harness import CASCADE, HEAVY, LIGHT, make_query, plan


def fleet() -> Fleet:
    return Fleet({"light": LIGHT, "heavy": HEAVY}, [CASCADE])


def test_members_follow_the_plan() -> None:
    house = fleet()
    house.follow(plan({"w1": "light", "w2": "heavy"}, plan_id=1))
    assert list(house.pool("light").members) == ["w1"]
    house.follow(plan({"w1": "heavy", "w2": "light"}, plan_id=2))
    assert list(house.pool("light").members) == ["w2"]
    assert list(house.pool("heavy").members) == ["w1"]


def test_worker_without_its_variant_waits_for_a_plan_that_says_it_is_loaded() -> None:
    house = fleet()
    loading = plan({"w1": "light"}, plan_id=1)
    info = replace(loading.workers["w1"], resident=("heavy",))
    house.follow(replace(loading, workers={"w1": info}))
    assert not house.pool("light").members
    house.follow(plan({"w1": "light"}, plan_id=2))
    assert list(house.pool("light").members) == ["w1"]


def test_lost_worker_is_out_until_found_whatever_the_plan_says() -> None:
    house = fleet()
    house.follow(plan({"w1": "light"}, plan_id=1))
    house.lost("w1")
    house.follow(plan({"w1": "light"}, plan_id=2))
    assert not house.pool("light").members
    house.found("w1")
    assert list(house.pool("light").idle) == ["w1"]


def test_workers_that_left_are_forgotten_once_they_have_finished() -> None:
    house = fleet()
    house.follow(plan({"w1": "light"}, plan_id=1))
    batch = Batch(
        batch_id=1,
        worker_id="w1",
        variant_id="light",
        stage=CascadeStage.LIGHT,
        query_ids=("a",),
        started_s=0.0,
    )
    house.start(batch)
    for number in range(2, 50):
        house.follow(plan({f"w{number}": "light"}, plan_id=number))
        house.lost(f"w{number}")
    assert set(house._workers) == {"w1", "w49"}
    assert set(house._unreachable) == {"w49"}
    house.ended(batch)
    house.follow(plan({"w1": "light"}, plan_id=99))
    assert set(house._workers) == {"w1"}
    assert not house._unreachable
    assert list(house.pool("light").idle) == ["w1"]


def test_a_pool_is_vacant_since_it_was_found_so_and_not_since_the_time_before() -> None:
    house = fleet()
    house.follow(plan({"w1": "light"}, plan_id=1))
    pool = house.pool("light")
    assert pool.vacant_s(0.0) == 0.0
    house.lost("w1")
    assert (pool.vacant_s(1.0), pool.vacant_s(4.0)) == (0.0, 3.0)
    house.found("w1")
    house.lost("w1")
    assert (pool.vacant_s(60.0), pool.vacant_s(62.0)) == (0.0, 2.0)


def test_last_light_worker_lost_a_heavy_one_stands_in_until_it_is_back() -> None:
    house = fleet()
    house.follow(plan({"w1": "light", "w2": "heavy", "w3": "heavy"}, plan_id=1))
    house.lost("w1")
    assert list(house.pool("light").members) == ["w3"]
    assert list(house.pool("heavy").members) == ["w2"]
    house.found("w1")
    assert list(house.pool("light").members) == ["w1"]
    assert list(house.pool("heavy").members) == ["w2", "w3"]


def test_nobody_stands_in_who_does_not_hold_the_variant() -> None:
    house = fleet()
    mixed = plan({"w1": "light", "w2": "heavy"}, plan_id=1)
    workers = {**mixed.workers, "w2": replace(mixed.workers["w2"], resident=("heavy",))}
    house.follow(replace(mixed, workers=workers))
    house.lost("w1")
    assert not house.pool("light").members


def test_plan_of_an_unknown_variant_is_survived() -> None:
    house = fleet()
    house.follow(plan({"w1": "other"}, plan_id=1))
    assert all(not pool.members for pool in house.pools())


LIGHT_STAGE, HEAVY_STAGE = CascadeStage.LIGHT, CascadeStage.HEAVY


def batch(pool: Pool, batch_id: int = 1) -> Batch:
    return Batch(
        batch_id=batch_id,
        worker_id="w",
        variant_id=pool.variant_id,
        stage=pool.stage,
        query_ids=("q",),
        started_s=0.0,
    )


def test_time_shared_worker_is_idle_in_all_its_pools_or_busy_in_all() -> None:
    house = Fleet(mixture.PROFILES, mixture.CASCADES.values())
    house.follow(mixture.plan({"w": "tiny"}, coresident={"w": ("mid",)}))
    pools = [pool for pool in house.pools() if pool.members]
    assert [pool.role for pool in pools] == [
        ("mid", LIGHT_STAGE),
        ("mid", HEAVY_STAGE),
        ("tiny", LIGHT_STAGE),
    ]
    assert all(list(pool.idle) == ["w"] for pool in pools)
    house.start(batch(pools[0]))
    assert not any(pool.idle for pool in pools)
    house.follow(mixture.plan({"w": "big"}, coresident={"w": ("mid",)}, plan_id=2))
    assert not any(pool.idle for pool in house.pools())
    released = house.release(batch(pools[0]))
    assert {pool.variant_id for pool in released} == {"big", "mid"}
    assert all(pool.idle for pool in released)
    assert house.release(batch(pools[0])) == ()


def test_worker_that_has_two_batches_to_answer_gets_no_third() -> None:
    house = fleet()
    house.follow(plan({"w": "light"}, plan_id=1))
    pool = house.pool("light")
    first, second = (replace(batch(pool), batch_id=number) for number in (1, 2))
    house.start(first)
    assert house.release(first) == (pool,)
    house.start(second)
    assert house.release(second) == ()
    assert not pool.idle
    house.ended(first)
    assert list(pool.idle) == ["w"]
    house.ended(second)
    assert list(pool.idle) == ["w"]


def test_batch_that_ends_before_its_device_is_said_to_be_free_frees_it() -> None:
    house = fleet()
    house.follow(plan({"w": "light"}, plan_id=1))
    pool = house.pool("light")
    for number in range(3):
        house.start(replace(batch(pool), batch_id=number))
        assert not pool.idle
        house.ended(replace(batch(pool), batch_id=number))
        assert list(pool.idle) == ["w"]


def test_heavy_stage_counts_on_what_the_light_one_leaves() -> None:
    house = fleet()
    shared = replace(plan({"w": "light"}, fraction=0.1), coresident={"w": ("heavy",)})
    cascade = replace(shared.cascades["c"], demand_qps=4.0)
    house.follow(replace(shared, cascades={"c": cascade}))
    # 4 queries per second in batches of 4 keep the worker busy for a quarter of its time.
    assert house.pool("heavy").capacity == pytest.approx(0.75)
    assert house.pool("light").capacity == 1.0


def test_variant_that_is_not_loaded_yet_is_not_shared() -> None:
    house = Fleet(mixture.PROFILES, mixture.CASCADES.values())
    house.follow(
        mixture.plan({"w": "tiny"}, coresident={"w": ("mid", "nobody")}, resident=("tiny",))
    )
    assert [pool.variant_id for pool in house.pools() if pool.members] == ["tiny"]


def test_cascade_without_a_share_is_not_essential() -> None:
    house = Fleet(mixture.PROFILES, mixture.CASCADES.values())
    house.follow(mixture.plan({"w": "mid", "x": "big"}, shares={"near": 0.0, "far": 1.0}))
    assert not house.pool("tiny").members
    assert house.planned("near") is not None
    assert house.planned("other") is None


def test_queue_of_a_dropped_cascade_is_finished_by_those_who_served_it() -> None:
    house = Fleet(mixture.PROFILES, mixture.CASCADES.values())
    house.follow(mixture.plan({"w": "tiny", "x": "mid"}))
    house.pool("tiny").queue.push(make_query("a"), 0.0)
    dropped = {"near": 0.0, "far": 1.0}
    house.follow(mixture.plan({"w": "mid", "x": "big"}, shares=dropped, plan_id=2))
    assert list(house.pool("tiny").members) == ["w"]
    assert "w" in house.pool("mid", LIGHT_STAGE).members
    house.pool("tiny").queue.remove("a")
    house.follow(mixture.plan({"w": "mid", "x": "big"}, shares=dropped, plan_id=3))
    assert not house.pool("tiny").members


def test_an_added_stage_of_a_variant_goes_on_with_what_was_learnt() -> None:
    house = Fleet(mixture.PROFILES, [mixture.CASCADES["near"]])
    house.follow(mixture.plan({"t": "tiny", "w": "mid"}))
    heavy = house.pool("mid", CascadeStage.HEAVY)
    for _ in range(50):
        house.start(batch(heavy))
        house.observe(batch(heavy), 0.6, is_stopped=False)
        house.release(batch(heavy))
        house.ended(batch(heavy))
    house.start(batch(heavy))
    house.add([mixture.CASCADES["far"]])
    light = house.pool("mid", LIGHT_STAGE)
    assert light.profile.execution_s(1) == pytest.approx(0.6, rel=0.05)
    assert (list(light.members), list(light.idle)) == (["w"], [])
    house.release(batch(heavy))
    assert list(light.idle) == list(heavy.idle) == ["w"]


def test_observations_of_all_types_teach_one_profile() -> None:
    slow = LatencyProfile({1: 0.2, 2: 0.3, 4: 0.5})
    house = Fleet({"light": LIGHT, "heavy": HEAVY}, [CASCADE], {"light": {"slow": slow}})
    made = plan({"w": "light"})
    info = replace(made.workers["w"], device_type="slow")
    house.follow(replace(made, workers={"w": info}))
    pool = house.pool("light")
    house.start(batch(pool))
    house.observe(batch(pool), 0.4, is_stopped=False)
    assert pool.profile.execution_s(1) == pytest.approx(0.2)
    house.observe(batch(pool), 0.1, is_stopped=True)
    assert pool.profile.execution_s(1) == pytest.approx(0.2)
