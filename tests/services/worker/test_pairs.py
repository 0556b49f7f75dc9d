"""Heavy images are scored beside the light ones' scores, after the answers."""

from __future__ import annotations

import asyncio
import time

from diffserve.core import Population
from diffserve.rpc.v1 import common_pb2
from tests.services.worker.harness import (
    collect,
    mock_catalog,
    request,
    running_discriminator,
    running_worker,
)

LIGHT = common_pb2.LightScore(
    cascade_id="mock", discriminator="mock", confidence=0.25, percentile=0.1
)


async def test_pairs_reach_the_discriminator() -> None:
    catalog = mock_catalog({"v1": 0.01})
    async with (
        running_discriminator(catalog) as (discriminator, address),
        running_worker(catalog, discriminator_address=address) as worker,
    ):
        batch = request("v1", "a", "b")
        batch.queries[0].light.CopyFrom(LIGHT)
        answer = await collect(worker.stub.Execute(batch, timeout=5))
        assert set(answer.results) == {"a", "b"}
        assert not any(result.HasField("confidence") for result in answer.results.values())
        learnt, population = discriminator.scoring.learnt, Population("mock", "mock-light")
        sketch = discriminator.scoring.populations.sketches[population]
        async with asyncio.timeout(5):
            while not learnt.message(population, sketch).gains:
                await asyncio.sleep(0.01)
        assert learnt.message(population, sketch).gains["mock"].num_pairs == 1


async def test_answers_do_not_wait_for_pairs() -> None:
    """Nobody is there to score."""
    catalog = mock_catalog({"v1": 0.01})
    async with running_worker(catalog, score_timeout_s=5.0) as worker:
        batch = request("v1", "a")
        batch.queries[0].light.CopyFrom(LIGHT)
        began_s = time.monotonic()
        answer = await collect(worker.stub.Execute(batch, timeout=5))
        assert time.monotonic() - began_s < 3.0
        assert answer.results["a"].error == ""
