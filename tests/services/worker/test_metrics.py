"""What a worker and a discriminator count is what was asked of them."""

from __future__ import annotations

import asyncio

import numpy as np

from diffserve.core import Population
from services.discriminator.scoring import Scoring
from tests.metrics import parsed
from tests.services.worker.harness import RunningWorker, mock_catalog, request, running_worker


def scraped(worker: RunningWorker) -> dict[str, float]:
    return parsed(worker.application.metrics.instruments.exposition().decode())


async def test_batches_swaps_and_memory_are_counted() -> None:
    catalog = mock_catalog({"v1": 0.02, "v2": 0.02}, memory_bytes=100)
    async with running_worker(catalog, preload="v1", memory_bytes_max=150) as worker:
        for _ in range(3):
            async for _ in worker.stub.Execute(request("v1", "a", "b")):
                pass
        before = scraped(worker)
        executor = worker.application.executor
        await executor.make_ready(catalog.variants["v2"])
        after = scraped(worker)
    assert before["diffserve_worker_batches_total{result=done,variant=v1}"] == 3
    assert before["diffserve_worker_execution_seconds_count{variant=v1}"] == 3
    assert before["diffserve_worker_execution_seconds_sum{variant=v1}"] >= 3 * 0.02
    assert before["diffserve_worker_swaps_total{variant=v1}"] == 1
    assert before["diffserve_worker_variant_resident{variant=v1}"] == 1
    assert before["diffserve_worker_variant_resident{variant=v2}"] == 0
    assert after["diffserve_worker_swaps_total{variant=v2}"] == 1
    assert after["diffserve_worker_swap_seconds_count{variant=v2}"] == 1
    assert after["diffserve_worker_evictions_total{variant=v1}"] == 1
    assert after["diffserve_worker_variant_resident{variant=v1}"] == 0
    assert after["diffserve_worker_variant_resident{variant=v2}"] == 1
    assert after["diffserve_worker_swap_memory_bytes{moment=before}"] > 0
    assert after["diffserve_worker_swap_memory_bytes{moment=after}"] > 0
    assert after["diffserve_worker_memory_used_bytes"] > 0


async def test_aborted_queries_and_stopped_batches_are_counted() -> None:
    catalog = mock_catalog({"v1": 1.0})
    async with running_worker(catalog) as worker:

        async def run() -> None:
            async for _ in worker.stub.Execute(request("v1", "a", "b")):
                pass

        running = asyncio.create_task(run())
        await worker.has_accepted(1)
        worker.application.executor.abort("", 1, frozenset({"a", "b", "unknown"}))
        await running
        found = scraped(worker)
    assert found["diffserve_worker_queries_aborted_total"] == 2
    assert found["diffserve_worker_batches_total{result=stopped,variant=v1}"] == 1


async def test_scores_and_confidences_are_counted() -> None:
    scoring = Scoring(mock_catalog({}), sketch_size=64)
    await scoring.thread.start("cpu", 1)
    images = np.zeros((3, 64, 64, 3), np.uint8)
    population = Population("mock", "mock-light")
    scores = await scoring.score(population, images, ["a", "b", "c"])
    await scoring.score(population, images[:1], ["a"], exclude_from_sketch=True)
    found = parsed(scoring.metrics.instruments.exposition().decode())
    scoring.thread.close()
    name = "diffserve_discriminator_scores_total"
    assert found[f"{name}{{discriminator=mock,stage=light}}"] == 3
    assert found[f"{name}{{discriminator=mock,stage=heavy}}"] == 1
    assert found["diffserve_discriminator_scoring_seconds_count{discriminator=mock}"] == 2
    histogram = "diffserve_discriminator_confidence_ratio"
    labels = "{discriminator=mock,variant=mock-light}"
    assert found[f"{histogram}_count{labels}"] == 3
    total = sum(score.confidence for score in scores)
    assert abs(found[f"{histogram}_sum{labels}"] - total) < 1e-9
    assert found[f"diffserve_discriminator_drift_alarm{labels}"] == 0
