"""Which plan was in force when."""

from __future__ import annotations

from diffserve.core import Plan
from services.controller.history import PlanHistory


def test_the_last_plan_of_a_decision_has_an_age_of_its_own() -> None:
    now_s = 0.0
    history = PlanHistory(lambda: now_s)
    for plan_id in (1, 2):
        history.add(Plan(plan_id=plan_id, placement={}, batch_size_max={}, cascades={}))
        now_s += 100.0
    ages_s = {plan_id: found[1] for plan_id in (1, 2) if (found := history.plan(plan_id))}
    assert ages_s == {1: 200.0, 2: 100.0}
    assert history.plan(3) is None
