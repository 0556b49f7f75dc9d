"""Which thread scores, and who is refused."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from diffserve.catalog import Discriminator, load_catalog
from diffserve.core import Population
from diffserve.errors import BackendError, OverloadedError
from diffserve.scoring import thread
from diffserve.scoring.thread import NUM_WAITING_MAX, ScoringThread

IMAGES = np.zeros((2, 8, 8, 3), np.uint8)
ODD = Population("odd", "")


class QuickScorer:
    """Tells on which threads it was asked."""

    seconds = 0.0

    def __init__(self) -> None:
        self.threads: list[str] = []

    @classmethod
    def from_pretrained(cls, directory: str) -> QuickScorer:
        return cls()

    def score(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float32]:
        self.threads.append(threading.current_thread().name)
        time.sleep(self.seconds)
        return np.full(len(images), 0.5, np.float32)


class SlowScorer(QuickScorer):
    """Takes longer than handing over does."""

    seconds = 0.02


@asynccontextmanager
async def running(scorer: str, source: Path) -> AsyncIterator[ScoringThread]:
    entry = Discriminator(discriminator_id="odd", scorer=f"{__name__}:{scorer}", source=str(source))
    scoring = ScoringThread(
        dataclasses.replace(load_catalog("mock"), discriminators={"odd": entry}, cascades={})
    )
    await scoring.start("cpu", 1)
    try:
        yield scoring
    finally:
        scoring.close()


async def threads_of(scoring: ScoringThread, count: int) -> list[str]:
    for _ in range(count):
        assert await scoring.confidences(ODD, IMAGES, ["a", "b"]) == [0.5, 0.5]
    threads: list[str] = scoring._scorers[ODD].threads  # type: ignore[attr-defined]
    return threads


async def test_what_takes_long_leaves_the_loop_alone(tmp_path: Path) -> None:
    async with running("SlowScorer", tmp_path) as scoring:
        threads = await threads_of(scoring, 3)
    assert {name.split("_")[0] for name in threads} == {"scorer"}


async def test_what_takes_less_than_handing_over_is_asked_on_the_spot(tmp_path: Path) -> None:
    async with running("QuickScorer", tmp_path) as scoring:
        threads = await threads_of(scoring, 20)
    assert threads[0].startswith("scorer")  # nobody knew yet
    assert threads.count(threading.current_thread().name) >= 15


async def test_too_many_are_refused_and_the_others_answered(tmp_path: Path) -> None:
    async with running("SlowScorer", tmp_path) as scoring:
        asked = [
            asyncio.ensure_future(scoring.confidences(ODD, IMAGES, ["a", "b"]))
            for _ in range(NUM_WAITING_MAX)
        ]
        await asyncio.sleep(0)
        assert scoring.is_busy
        with pytest.raises(OverloadedError, match="too many"):
            await scoring.confidences(ODD, IMAGES, ["a", "b"])
        for future in asked[3:]:
            future.cancel()
        assert [await future for future in asked[:3]] == [[0.5, 0.5]] * 3
        await scoring.wait_until_idle()
        assert not scoring.is_busy


async def test_a_wrong_number_of_confidences_is_a_failure(tmp_path: Path) -> None:
    async with running("QuickScorer", tmp_path) as scoring:
        with pytest.raises(BackendError, match="shape"):
            await scoring.confidences(ODD, IMAGES, ["a"])


async def test_a_model_that_does_not_come_back_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "HUNG_S", 0.01)
    async with running("SlowScorer", tmp_path) as scoring:
        monkeypatch.setattr(SlowScorer, "seconds", 0.2)
        assert not scoring.is_hung
        with pytest.raises(TimeoutError):
            await scoring.confidences(ODD, IMAGES, ["a", "b"], limit_s=0.05)
        # Nobody waits any more, and the thread is busy all the same.
        assert scoring.is_hung and not scoring.is_busy
        async with asyncio.timeout(5):
            while scoring.is_hung:
                await asyncio.sleep(0.01)
