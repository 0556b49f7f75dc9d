"""A worker that scores its own images: the same scores, ranked by what all workers report."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from diffserve.catalog import Catalog
from diffserve.core import Population
from diffserve.rpc.v1 import common_pb2
from diffserve.telemetry.server import free_port
from services.discriminator.application import DiscriminatorApplication
from services.discriminator.servicer import DiscriminatorServicer
from services.worker import reports
from tests.metrics import parsed
from tests.services.worker.harness import (
    Answer,
    RunningWorker,
    collect,
    mock_catalog,
    request,
    running_discriminator,
    running_worker,
)

V1 = Population("mock", "v1")
LIGHT = common_pb2.LightScore(
    cascade_id="mock", discriminator="mock", confidence=0.25, percentile=0.1
)


@pytest.fixture
def catalog() -> Catalog:
    return mock_catalog({"v1": 0.002})


async def scored(worker: RunningWorker, *query_ids: str, discriminator: str = "mock") -> Answer:
    asked = request("v1", *query_ids, discriminator=discriminator)
    return await collect(worker.stub.Execute(asked, timeout=5))


async def has_seen(discriminator: DiscriminatorApplication, count: int) -> tuple[float, ...]:
    """Return the newest confidences of v1's sketch, once that many are said to have come."""
    name = "diffserve_discriminator_scores_total{discriminator=mock,stage=light}"
    exposition = discriminator.scoring.metrics.instruments.exposition
    async with asyncio.timeout(5):
        while parsed(exposition().decode()).get(name, 0) < count:
            await asyncio.sleep(0.01)
    return discriminator.scoring.populations.sketches[V1].scores()[-count:]


async def test_confidences_are_those_of_the_service(catalog: Catalog) -> None:
    async with running_discriminator(catalog) as (_, address):
        found = []
        for scoring in ("local", "service"):
            async with running_worker(
                catalog, discriminator_address=address, scoring=scoring
            ) as worker:
                answer = await scored(worker, "a", "b")
                found.append({q: r.confidence for q, r in answer.results.items()})
    assert found[0] == found[1]
    assert len(set(found[0].values())) == 2


async def test_the_discriminator_learns_of_them(catalog: Catalog) -> None:
    async with (
        running_discriminator(catalog) as (discriminator, address),
        running_worker(catalog, discriminator_address=address, scoring="local") as worker,
    ):
        first = await scored(worker, "a", "b")
        second = await scored(worker, "c")
        seen = await has_seen(discriminator, 3)
        confidences = [first.results[q].confidence for q in ("a", "b")]
        assert sorted(seen) == sorted([*confidences, second.results["c"].confidence])
        found = parsed(discriminator.scoring.metrics.instruments.exposition().decode())
    assert found["diffserve_discriminator_scoring_seconds_sum{discriminator=mock}"] > 0.0


async def test_ranks_are_those_among_the_images_of_all_workers(catalog: Catalog) -> None:
    async with (
        running_discriminator(catalog) as (discriminator, address),
        running_worker(catalog, discriminator_address=address, scoring="local") as worker,
    ):
        await scored(worker, "first")
        # Others' images all score higher than anything here will.
        discriminator.scoring.join(V1, [1.0] * 100)
        async with asyncio.timeout(5):
            while (await scored(worker, "a")).results["a"].percentile > 0.1:
                await asyncio.sleep(0.05)


async def test_a_discriminator_that_is_away_learns_later(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "PERIOD_S", 0.02)
    port = free_port()
    async with running_worker(
        catalog, discriminator_address=f"127.0.0.1:{port}", scoring="local"
    ) as worker:
        answers = [await scored(worker, name) for name in ("a", "b")]
        confidences = [
            result.confidence for answer in answers for result in answer.results.values()
        ]
        await asyncio.sleep(0.1)
        async with running_discriminator(catalog, port) as (discriminator, _):
            assert list(await has_seen(discriminator, 2)) == pytest.approx(confidences)


async def test_what_is_left_is_reported_in_the_end(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "PERIOD_S", 30.0)
    async with running_discriminator(catalog) as (discriminator, address):
        async with running_worker(
            catalog, discriminator_address=address, scoring="local"
        ) as worker:
            await asyncio.sleep(0.1)  # the question of the start is over by then
            await scored(worker, "a")
        await has_seen(discriminator, 1)


async def test_a_report_under_way_at_the_end_arrives(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "PERIOD_S", 0.01)
    observe, under_way = DiscriminatorServicer.Observe, asyncio.Event()

    async def slow(self: DiscriminatorServicer, asked: Any, context: Any) -> Any:
        if any(group.confidences for group in asked.light):
            under_way.set()
            await asyncio.sleep(0.2)
        return await observe(self, asked, context)

    monkeypatch.setattr(DiscriminatorServicer, "Observe", slow)
    async with running_discriminator(catalog) as (discriminator, address):
        async with running_worker(
            catalog, discriminator_address=address, scoring="local"
        ) as worker:
            await scored(worker, "a")
            await asyncio.wait_for(under_way.wait(), 5)
        await has_seen(discriminator, 1)


async def test_heavy_images_are_paired(catalog: Catalog) -> None:
    population = Population("mock", "mock-light")
    async with (
        running_discriminator(catalog) as (discriminator, address),
        running_worker(catalog, discriminator_address=address, scoring="local") as worker,
    ):
        batch = request("v1", "a", "b")
        batch.queries[0].light.CopyFrom(LIGHT)
        await collect(worker.stub.Execute(batch, timeout=5))
        learnt = discriminator.scoring.learnt
        sketch = discriminator.scoring.populations.sketches[population]
        async with asyncio.timeout(5):
            while not learnt.message(population, sketch).gains:
                await asyncio.sleep(0.01)
        assert learnt.message(population, sketch).gains["mock"].num_pairs == 1


async def test_an_unknown_discriminator_costs_the_score_only(catalog: Catalog) -> None:
    async with running_worker(catalog, scoring="local") as worker:
        result = (await scored(worker, "a", discriminator="nobody")).results["a"]
    assert result.image.data
    assert not result.HasField("confidence")
    assert "nobody" in result.scoring_error


async def test_scoring_is_bounded_by_the_budget_left(catalog: Catalog) -> None:
    async with running_worker(catalog, scoring="local") as worker:
        thread = worker.application._scoring._thread  # type: ignore[attr-defined]
        thread._newest_s.clear()  # as if no one knew yet how fast it is
        gate = threading.Event()
        thread._thread.submit(gate.wait, 5.0)  # another batch is being scored, and takes long
        asked = request("v1", "late", "short", discriminator="mock")
        asked.queries[0].budget_s = 0.001
        asked.queries[1].budget_s = 0.3
        started_s = time.monotonic()
        answer = await collect(worker.stub.Execute(asked))
        took_s = time.monotonic() - started_s
        gate.set()
    assert 0.2 < took_s < 1.5
    assert all("longer than" in r.scoring_error for r in answer.results.values())
