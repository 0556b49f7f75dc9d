from __future__ import annotations

from dataclasses import replace

import pytest
from google.protobuf import json_format

from diffserve.core import CascadePlan, Plan, WorkerInfo
from diffserve.rpc import convert
from services.controller.plans import (
    PlanBoard,
    has_same_content,
    message_from_document,
    to_document,
)

CASCADE = CascadePlan(
    cascade_id="c",
    demand_qps=3.5,
    deferral_fraction=0.25,
    deferral_target=0.25,
    confidence_threshold=0.5,
    expected_quality=0.75,
)
PLAN = Plan(
    plan_id=7,
    placement={"w": "v"},
    batch_size_max={"v": 4},
    cascades={"c": CASCADE},
    workers={"w": WorkerInfo(worker_id="w", address="h:1", device="cpu", resident=("v",))},
    solver="cbc",
    solve_s=0.125,
    reason="because",
)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_watchers_get_the_plan_in_force_then_only_the_newest() -> None:
    board = PlanBoard(Clock())
    board.publish(PLAN)
    watch = board.watch()
    assert (await anext(watch)).plan_id == 7
    for plan_id in (8, 9, 10):
        board.publish(replace(PLAN, plan_id=plan_id))
    assert (await anext(watch)).plan_id == 10
    board.close()
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def test_age_counts_from_when_it_was_made() -> None:
    clock = Clock()
    board = PlanBoard(clock)
    assert board.message() is None
    board.publish(PLAN, age_s=30.0)
    clock.now_s += 2.0
    message = board.message()
    assert message is not None
    assert message.age_s == pytest.approx(32.0)


async def test_an_older_plan_is_refused() -> None:
    board = PlanBoard(Clock())
    board.publish(PLAN)
    with pytest.raises(ValueError, match="not newer"):
        board.publish(PLAN)


def test_documents_round_trip_and_tolerate_newer_fields() -> None:
    assert convert.plan_from_proto(message_from_document(to_document(PLAN))) == PLAN
    newer = to_document(PLAN).replace('"plan_id"', '"invented_later": 1, "plan_id"', 1)
    assert message_from_document(newer).plan_id == 7
    with pytest.raises(json_format.ParseError):
        message_from_document("not a plan")


def test_content_is_what_somebody_must_act_on() -> None:
    told_apart = replace(CASCADE, demand_qps=99.0)
    same = replace(PLAN, plan_id=8, reason="x", solve_s=1.0, cascades={"c": told_apart})
    assert has_same_content(PLAN, same)
    for change in (
        {"placement": {"w": "u"}},
        {"batch_size_max": {"v": 8}},
        {"cascades": {"c": replace(CASCADE, deferral_fraction=0.5)}},
        {"workers": {}},
    ):
        assert not has_same_content(PLAN, replace(PLAN, **change))
