"""Which workers serve: placed, resident, reachable, not draining."""

from __future__ import annotations

from dataclasses import replace

from diffserve.policy.fleet import Fleet
from tests.unit.policy.harness import HEAVY, LIGHT, plan


def fleet() -> Fleet:
    return Fleet({"light": LIGHT, "heavy": HEAVY})


def test_members_follow_the_plan() -> None:
    house = fleet()
    house.follow(plan({"w1": "light", "w2": "heavy"}, plan_id=1))
    assert list(house.pool("light").members) == ["w1"]
    house.follow(plan({"w1": "heavy"}, plan_id=2))
    assert not house.pool("light").members
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


def test_last_light_worker_lost_a_heavy_one_stands_in_until_it_is_back() -> None:
    house = Fleet({"light": LIGHT, "heavy": HEAVY}, essential=["light"])
    house.follow(plan({"w1": "light", "w2": "heavy", "w3": "heavy"}, plan_id=1))
    house.lost("w1")
    assert list(house.pool("light").members) == ["w3"]
    assert list(house.pool("heavy").members) == ["w2"]
    house.found("w1")
    assert list(house.pool("light").members) == ["w1"]
    assert list(house.pool("heavy").members) == ["w2", "w3"]


def test_nobody_stands_in_who_does_not_hold_the_variant() -> None:
    house = Fleet({"light": LIGHT, "heavy": HEAVY}, essential=["light"])
    mixed = plan({"w1": "light", "w2": "heavy"}, plan_id=1)
    workers = {**mixed.workers, "w2": replace(mixed.workers["w2"], resident=("heavy",))}
    house.follow(replace(mixed, workers=workers))
    house.lost("w1")
    assert not house.pool("light").members


def test_plan_of_an_unknown_variant_is_survived() -> None:
    house = fleet()
    house.follow(plan({"w1": "other"}, plan_id=1))
    assert all(not pool.members for pool in house.pools())
