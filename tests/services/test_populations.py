"""Two cascades of one discriminator, the second activated: each defers its own share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from diffserve.activation import activation_of
from diffserve.catalog import load_catalog
from diffserve.client import AsyncClient, GeneratedImage
from diffserve.core import Population
from diffserve.profiles.latency import LatencyProfile
from diffserve.profiles.sketch import NUM_BORROWED_SCORES
from tests.catalogs import FURTHER, RUNNING
from tests.services.deployment import running_deployment

SHARE = 0.3
NUM_QUERIES = 160


class PromptScorer:
    """The last word of a prompt is the confidence of its image."""

    @classmethod
    def from_pretrained(cls, directory: str) -> PromptScorer:
        return cls()

    def score(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float32]:
        words = [prompt.split()[-1] for prompt in prompts]
        return np.array([0.0 if word == "warm-up" else float(word) for word in words], np.float32)


def scored_by_prompt(text: str, directory: Path) -> str:
    ours = f'scorer = "{__name__}:PromptScorer"\nsource = "{directory}"'
    return text.replace('scorer = "mock"', ours)


async def drawn(
    client: AsyncClient, cascade_id: str, confidences: Sequence[float]
) -> list[GeneratedImage]:
    """Send queries a few at a time, as many as there are confidences."""
    doors = asyncio.Semaphore(6)

    async def one(index: int, confidence: float) -> GeneratedImage:
        async with doors:
            return await client.generate(f"owl {index} {confidence:.4f}", cascade=cascade_id)

    return list(await asyncio.gather(*(one(*row) for row in enumerate(confidences))))


@pytest.mark.parametrize("scoring", ["service", "local"])
async def test_an_activated_cascade_defers_its_share_and_the_former_one_still_does(
    tmp_path: Path, scoring: str
) -> None:
    path = tmp_path / "running.toml"
    path.write_text(scored_by_prompt(RUNNING, tmp_path))
    catalog = load_catalog(str(path))
    further = scored_by_prompt(FURTHER, tmp_path)
    activation = activation_of(catalog, tmp_path / "further.toml", further, "").to_json()
    fast = LatencyProfile({1: 0.002, 2: 0.003, 4: 0.004})
    catalog = replace(catalog, latency=dict.fromkeys(catalog.latency, fast))
    generator = np.random.default_rng(3)
    async with (
        running_deployment(
            catalog,
            SHARE,
            cascade_ids=("near", "far"),
            activation=activation,
            scoring=scoring,
        ) as deployment,
        AsyncClient(deployment.door) as client,
    ):
        # Those of "far" are worse than all but a few of "near", whose own are as measured.
        near, far = await asyncio.gather(
            drawn(client, "near", generator.uniform(0.0, 1.0, NUM_QUERIES).tolist()),
            drawn(client, "far", generator.uniform(0.0, 0.1, NUM_QUERIES).tolist()),
        )
        await asyncio.sleep(0.5)  # until workers have reported what they scored themselves
        sketches = deployment.discriminator.scoring.populations.sketches
        drifts = deployment.discriminator.scoring.learnt.drifts()
    tiny, mid = Population("scorer", "tiny"), Population("scorer", "mid")
    assert len(sketches[tiny]) == 512 + NUM_QUERIES
    assert len(sketches[mid]) == NUM_BORROWED_SCORES + NUM_QUERIES
    assert set(drifts) == {tiny}
    assert not drifts[tiny].is_alarm
    for images in (near, far):
        below = sum((image.percentile or 0.0) < SHARE for image in images) / NUM_QUERIES
        assert below == pytest.approx(SHARE, abs=0.1)
        heavy = sum(image.outcome == "heavy" for image in images) / NUM_QUERIES
        assert heavy == pytest.approx(SHARE, abs=0.1)
