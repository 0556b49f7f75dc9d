from __future__ import annotations

from dataclasses import replace

import pytest

from diffserve.core import Plan
from diffserve.policy.deferral import Deferrals
from diffserve.policy.fleet import Fleet
from tests.unit.policy.harness import CASCADE, HEAVY, LIGHT, QUALITY, make_query, plan

WORKERS = {"w0": "light", "w1": "heavy", "w2": "heavy"}


def made(in_force: Plan | None) -> tuple[Deferrals, Fleet]:
    fleet = Fleet({"light": LIGHT, "heavy": HEAVY}, [CASCADE])
    deferrals = Deferrals({"c": CASCADE}, {"c": QUALITY}, {}, fleet)
    if in_force is not None:
        fleet.follow(in_force)
        deferrals.follow(in_force, 0.0)
    return deferrals, fleet


def aiming(target: float, bypass: float = 0.0) -> Plan:
    first = plan(WORKERS, fraction=target)
    return replace(first, cascades={"c": replace(first.cascades["c"], bypass_fraction=bypass)})


def flood(fleet: Fleet) -> None:
    for index in range(40):
        fleet.pool("heavy").queue.push(make_query(f"q{index}"), 0.0, 0.1)


def test_without_a_plan_nothing_is_deferred() -> None:
    deferrals, _ = made(None)
    assert deferrals.threshold("c", 0.0) == 0.0
    assert deferrals.bypass_fraction("c", 0.0) == 0.0


def test_idle_workers_take_what_the_plan_aims_at() -> None:
    deferrals, _ = made(aiming(0.5))
    assert deferrals.wanted_share("c", 0.0) == 0.5
    assert deferrals.threshold("c", 0.0) == 0.5


def test_a_backlog_stops_deferrals_and_bypasses() -> None:
    deferrals, fleet = made(aiming(0.5, bypass=0.2))
    flood(fleet)
    assert deferrals.wanted_share("c", 0.0) == 0.0
    assert deferrals.bypass_fraction("c", 0.0) == 0.0
    assert deferrals.price("c").price > 0.0


def test_scarce_workers_take_fewer_of_both_alike() -> None:
    deferrals, _ = made(aiming(0.8, bypass=0.2))
    for index in range(100):
        deferrals.price("c").image("c", index / 10.0)
    share = deferrals.wanted_share("c", 10.0)
    assert 0.0 < share < 0.8
    assert deferrals.bypass_fraction("c", 10.0) == pytest.approx(0.2 * share / 0.8)


def test_bypass_does_not_need_deferrals() -> None:
    deferrals, _ = made(aiming(0.0, bypass=0.2))
    assert deferrals.bypass_fraction("c", 0.0) == 0.2


def test_what_was_decided_moves_the_threshold() -> None:
    deferrals, _ = made(aiming(0.5))
    deferrals.decided("c", 0.0, is_deferred=True)
    assert deferrals.threshold("c", 0.0) < 0.5


def test_a_pinned_share_is_deferred_whatever_it_costs() -> None:
    in_force = aiming(0.5)
    pinned = {"c": replace(in_force.cascades["c"], is_pinned=True)}
    deferrals, fleet = made(replace(in_force, cascades=pinned))
    flood(fleet)
    assert deferrals.wanted_share("c", 0.0) == 0.5
    assert deferrals.threshold("c", 0.0) == 0.5
