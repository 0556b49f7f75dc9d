"""Plans that Redis remembers, while no controller answers."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from google.protobuf import json_format

from diffserve.core import Plan
from diffserve.rpc import convert
from diffserve.telemetry.store import TelemetryStore
from services.loadbalancer import plans
from services.loadbalancer.plans import PlanFollower


class Remembered:
    """A store whose documents come one after the other."""

    def __init__(self, *documents: str) -> None:
        self._documents = list(documents)

    async def load_plan(self) -> str | None:
        return self._documents.pop(0) if self._documents else None


async def test_a_plan_that_cannot_be_read_does_not_end_the_following(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plans, "RETRY_S", 0.01)
    plans_kept = (
        Plan(plan_id=plan_id, placement={}, batch_size_max={}, cascades={}) for plan_id in (6, 7)
    )
    documents = [json_format.MessageToJson(convert.plan_to_proto(plan)) for plan in plans_kept]
    store = Remembered("not json {", *documents)
    found: asyncio.Queue[Plan] = asyncio.Queue()

    def apply(plan: Plan) -> None:
        found.put_nowait(plan)
        if plan.plan_id == 6:
            raise KeyError("worker")

    follower = PlanFollower("127.0.0.1:1", "lb", cast("TelemetryStore", store), apply)
    following = asyncio.create_task(follower.run())
    try:
        followed = [await asyncio.wait_for(found.get(), 10.0) for _ in range(2)]
        assert [plan.plan_id for plan in followed] == [6, 7]
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await follower.close()
