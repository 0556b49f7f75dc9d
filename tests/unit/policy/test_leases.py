"""Which load balancer may use which workers, and what happens at those that all use."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffserve.core import Outcome, Plan
from diffserve.policy.balancer import Balancer
from diffserve.policy.leases import (
    ArrivalShares,
    Tenure,
    lease_sizes,
    share_of,
    tenure,
    two_choices,
    with_leases,
)
from diffserve.policy.parameters import BalancerParameters
from tests.unit.policy.harness import CASCADE, HEAVY, LIGHT, QUALITY, make_query, plan


def placed(num_light: int, num_heavy: int) -> Plan:
    light = {f"l{index}": "light" for index in range(num_light)}
    return plan(light | {f"h{index}": "heavy" for index in range(num_heavy)})


def owned(leased: Plan) -> Counter[tuple[str, str]]:
    return Counter((leased.placement[w], owner) for w, owner in leased.owners.items())


def test_alone_there_is_nothing_to_lease() -> None:
    leased = with_leases(placed(2, 2), None, {"a": 1.0})
    assert not leased.owners
    assert tenure(leased, "l0", "a") is Tenure.OWN
    assert tenure(placed(1, 1), "l0", "a") is Tenure.OWN


def test_each_variant_is_divided_in_proportion() -> None:
    leased = with_leases(placed(4, 8), None, {"a": 0.5, "b": 0.5})
    expected = {("light", "a"): 2, ("light", "b"): 2, ("heavy", "a"): 4, ("heavy", "b"): 4}
    assert owned(leased) == expected
    uneven = with_leases(placed(4, 8), None, {"a": 0.75, "b": 0.25})
    assert owned(uneven)["heavy", "a"] == 6


def test_what_cannot_be_divided_is_common() -> None:
    leased = with_leases(placed(1, 3), None, {"a": 0.5, "b": 0.5})
    assert tenure(leased, "l0", "a") is tenure(leased, "l0", "b") is Tenure.COMMON
    assert owned(leased) == {("heavy", "a"): 1, ("heavy", "b"): 1}


def test_newcomer_uses_all_in_common() -> None:
    leased = with_leases(placed(2, 2), None, {"a": 0.5, "b": 0.5})
    assert {tenure(leased, w, "c") for w in leased.placement} == {Tenure.COMMON}
    assert share_of(leased, "c") == pytest.approx(1 / 3)


def test_loss_of_a_load_balancer_moves_only_its_workers() -> None:
    before = with_leases(placed(3, 9), None, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})
    after = with_leases(placed(3, 9), before, {"a": 0.5, "b": 0.5})
    kept = [w for w, owner in before.owners.items() if owner in "ab"]
    assert all(after.owners[w] == before.owners[w] for w in kept)
    assert "c" not in after.owners.values()


def test_small_changes_of_load_move_nobody() -> None:
    before = with_leases(placed(4, 12), None, {"a": 0.5, "b": 0.5})
    after = with_leases(placed(4, 12), before, {"a": 0.53, "b": 0.47})
    assert after.owners == before.owners


@given(
    st.integers(0, 40),
    st.lists(st.floats(0.01, 1.0), min_size=2, max_size=8),
    st.lists(st.integers(0, 12), min_size=8, max_size=8),
    st.integers(1, 5),
)
def test_leases_fit_and_leave_something_for_everybody(
    num_workers: int, weights: list[float], before: list[int], least: int
) -> None:
    shares = {f"b{i}": weight / sum(weights) for i, weight in enumerate(weights)}
    owned_before = {f"b{i}": count for i, count in enumerate(before)}
    sizes = lease_sizes(num_workers, owned_before, shares, least)
    assert sum(sizes.values()) <= num_workers
    assert all(size == 0 or size >= least for size in sizes.values())
    num_common = num_workers - sum(sizes.values())
    lacking = max(num_workers * shares[b] - size for b, size in sizes.items())
    assert lacking <= max(0.5, num_common) + 1e-9, "somebody has too few, and no others to use"
    if 0 in sizes.values() and num_workers:
        assert sum(sizes.values()) < num_workers


def test_shares_follow_the_arrivals() -> None:
    arrivals = ArrivalShares()
    arrivals.observe({"a": 100, "b": 0})
    assert arrivals.shares() == {"a": 0.5, "b": 0.5}
    for count in range(1, 30):
        arrivals.observe({"a": 100 + 30 * count, "b": 10 * count})
    assert arrivals.shares()["a"] == pytest.approx(0.75, abs=0.01)
    arrivals.observe({"a": 970, "b": 5})
    assert min(arrivals.shares().values()) > 0.0, "a counter that starts again is no negative share"
    arrivals.observe({"b": 6})
    assert arrivals.shares() == {"b": 1.0}


@given(st.integers(1, 9), st.text(max_size=8))
def test_two_choices_are_two(count: int, text: str) -> None:
    names = tuple(f"w{index}" for index in range(count))
    first, second = two_choices(names, text)
    assert {first, second} <= set(names)
    assert (first != second) == (count > 1)


def balancer(name: str) -> Balancer:
    return Balancer(
        {"c": CASCADE},
        {"light": LIGHT, "heavy": HEAVY},
        BalancerParameters(),
        quality={"c": QUALITY},
        loadbalancer_id=name,
    )


def test_only_own_and_common_workers_are_used() -> None:
    mine = balancer("a")
    leased = replace(placed(3, 1), owners={"l0": "a", "l1": "b"}, shares={"a": 0.5, "b": 0.5})
    mine.apply_plan(leased, 0.0)
    pool = mine.pool("light")
    assert set(pool.members) == {"l0", "l2"}
    assert pool.capacity == pytest.approx(1.5), "half of a common worker is ours"
    assert pool.next_idle().worker_id == "l0", "its own comes first"
    mine.apply_plan(replace(leased, plan_id=2, owners={"l0": "b", "l1": "a"}), 0.0)
    assert set(pool.members) == {"l1", "l2"}


def test_refused_queries_wait_without_counting_a_try() -> None:
    mine = balancer("a")
    mine.apply_plan(replace(placed(1, 1), shares={"a": 0.5, "b": 0.5}), 0.0)
    actions = mine.submit(make_query("q", slo_s=60.0), 0.0)
    for index in range(5):
        (launch,) = actions
        assert launch.batch.query_ids == ("q",)
        assert launch.batch.only_if_idle is (index == 0), "it may be staged once it was refused"
        now_s = index * 0.2 + 0.01
        assert not mine.batch_ended(launch.batch.batch_id, now_s, was_refused=True, busy_s=0.1)
        assert "l0" in mine.pool("light").members, "a busy worker is not lost"
        assert mine.next_wakeup_s == pytest.approx(now_s + 0.1)
        actions = mine.tick(now_s + 0.1)
    (launch,) = actions
    mine.device_released(launch.batch.batch_id, 0.1, 2.0)
    (finish,) = mine.light_ready(launch.batch.batch_id, "q", 0.99, 2.0)
    assert finish.outcome is Outcome.LIGHT


def test_heavy_batches_are_never_staged_behind_others() -> None:
    mine = balancer("a")
    mine.apply_plan(replace(placed(1, 1), shares={"a": 0.5, "b": 0.5}), 0.0)
    (light,) = mine.submit(make_query("q"), 0.0)
    mine.device_released(light.batch.batch_id, 0.1, 0.1)
    actions = mine.light_ready(light.batch.batch_id, "q", 0.0, 0.1)
    now_s = 0.1
    while len(launches := [a for a in actions if hasattr(a, "batch")]) == 0:
        now_s = mine.next_wakeup_s or 0.0
        actions = mine.tick(now_s)
    for _ in range(2):
        assert launches[0].batch.only_if_idle
        mine.batch_ended(launches[0].batch.batch_id, now_s, was_refused=True, busy_s=0.1)
        now_s += 0.1
        launches = mine.tick(now_s)
