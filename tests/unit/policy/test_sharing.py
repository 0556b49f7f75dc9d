"""How much of a time-shared worker each pool may count on."""

from __future__ import annotations

import pytest

from diffserve.core import CascadeStage
from diffserve.policy.sharing import SHARE_MIN, overflow, planned_rates, time_shares
from tests.unit.policy.mixture import CASCADES, plan

LIGHT, HEAVY = CascadeStage.LIGHT, CascadeStage.HEAVY


def test_rates_follow_the_plan_and_add_up_over_cascades() -> None:
    made = plan({}, demand_qps=10.0, fraction=0.5, bypass=0.2)
    rates = planned_rates(made, CASCADES.values())
    assert rates["tiny", LIGHT] == pytest.approx(4.0)
    assert rates["mid", LIGHT] == pytest.approx(4.0)
    assert rates["mid", HEAVY] == pytest.approx(1.0 + 2.0)
    assert planned_rates(None, CASCADES.values()) == {}


def test_own_workers_carry_first() -> None:
    assert overflow(2.5, dedicated=3.0, shared=1.0) == 0.0
    assert overflow(3.5, dedicated=3.0, shared=2.0) == pytest.approx(0.25)
    assert overflow(9.0, dedicated=3.0, shared=2.0) == 1.0
    assert overflow(9.0, dedicated=3.0, shared=0.0) == 0.0


def test_heavy_images_get_what_light_ones_leave() -> None:
    shares = time_shares({("a", LIGHT): 0.3, ("b", HEAVY): 0.6})
    assert shares["b", HEAVY] == pytest.approx(0.7)
    assert shares["a", LIGHT] == 1.0


def test_equals_count_on_what_the_others_leave_and_never_on_nothing() -> None:
    shares = time_shares({("a", LIGHT): 0.3, ("b", LIGHT): 0.2, ("b", HEAVY): 0.6})
    assert shares["a", LIGHT] == pytest.approx(0.8)
    assert shares["b", LIGHT] == pytest.approx(0.7)
    assert shares["b", HEAVY] == pytest.approx(0.5)
    assert time_shares({("a", LIGHT): 1.0, ("b", HEAVY): 0.1})["b", HEAVY] == SHARE_MIN


def test_light_work_beyond_the_workers_time_is_divided() -> None:
    shares = time_shares({("a", LIGHT): 0.9, ("b", LIGHT): 0.6})
    assert shares["a", LIGHT] == pytest.approx(0.6)
    assert shares["b", LIGHT] == pytest.approx(0.4)
