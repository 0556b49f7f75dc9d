"""The replaying client before a real load balancer: what is not known there is found out first."""

from __future__ import annotations

import pytest

from diffserve.catalog import load_catalog
from diffserve.errors import InputError
from diffserve.replay.client import Target, replay
from diffserve.sim.workload import Arrival
from tests.services.deployment import running_deployment


async def test_a_cascade_is_looked_for_before_the_first_query() -> None:
    async with running_deployment(load_catalog("mock"), 0.0) as deployment:
        arrivals = [Arrival(0.0, 0), Arrival(0.05, 1)]
        known = Target(address=deployment.door, slo_s=5.0, cascade_id="mock")
        replayed = await replay(known, arrivals)
        # The query that only looks is refused, not counted.
        assert replayed.recorder.num_queries == 2
        assert {answer.cascade_id for answer in replayed.answers} == {"mock"}
        unknown = Target(address=deployment.door, slo_s=5.0, cascade_id="paper-sdturbo")
        with pytest.raises(InputError, match="cascade_id: no cascade 'paper-sdturbo'") as caught:
            await replay(unknown, arrivals)
        assert caught.value.field == "cascade_id"
