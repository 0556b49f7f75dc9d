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
    plan = Plan(plan_id=7, placement={}, batch_size_max={}, cascades={})
    store = Remembered("not json {", json_format.MessageToJson(convert.plan_to_proto(plan)))
    found: asyncio.Queue[Plan] = asyncio.Queue()
    follower = PlanFollower("127.0.0.1:1", "lb", cast("TelemetryStore", store), found.put_nowait)
    following = asyncio.create_task(follower.run())
    try:
        assert (await asyncio.wait_for(found.get(), 10.0)).plan_id == 7
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await follower.close()
