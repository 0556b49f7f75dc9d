"""Shadow runs over real sockets: drawn after the answer, counted nowhere, dropped for real work."""

from __future__ import annotations

import asyncio
import time

import pytest

from diffserve.rpc.v1 import common_pb2, generation_pb2
from tests.services.loadbalancer.cluster import running_cluster


def request(prompt: str) -> generation_pb2.GenerateRequest:
    return generation_pb2.GenerateRequest(
        parameters=common_pb2.GenerationParameters(prompt=prompt, seed=5)
    )


async def test_the_heavy_run_of_a_deferred_query_knows_the_light_score() -> None:
    async with running_cluster(shadow_share=0.0) as cluster:
        await cluster.stub.Generate(request("two owls 0.1"))
        (light,) = cluster.workers["w2"].light
        assert (light.cascade_id, light.discriminator) == ("mock", "mock")
        assert (light.confidence, light.is_shadow) == (pytest.approx(0.1), False)
        assert not cluster.workers["w1"].light


async def test_an_accepted_query_is_drawn_again_after_its_answer() -> None:
    async with running_cluster(3, shadow_share=1.0) as cluster:
        for worker in cluster.workers.values():
            worker.heavy_s = 0.5
        began_s = time.monotonic()
        answer = await cluster.stub.Generate(request("an owl 0.9"))
        assert answer.image.data == b"light:an owl 0.9"
        assert time.monotonic() - began_s < 0.4
        await asyncio.sleep(0.1)
        (light,) = [x for worker in cluster.workers.values() for x in worker.light]
        assert light.is_shadow
        assert light.percentile == pytest.approx(0.9)
        await asyncio.sleep(0.6)  # its result finds no query
        ledger = cluster.application.balancer.ledger
        assert ledger.num_arrivals("mock") == 1
        assert ledger.num_in_progress("mock") == 0
        assert len(cluster.application.balancer.pool("mock-heavy").idle) == 2


async def test_real_work_takes_the_workers_back() -> None:
    async with running_cluster(3, shadow_share=1.0) as cluster:
        for worker in cluster.workers.values():
            worker.heavy_s = 0.5
        first = await cluster.stub.Generate(request("an owl 0.9"))
        second = await cluster.stub.Generate(request("two owls 0.1"))
        assert second.outcome == common_pb2.OUTCOME_HEAVY
        aborted = set().union(*(worker.aborted for worker in cluster.workers.values()))
        assert aborted == {first.query_id}
