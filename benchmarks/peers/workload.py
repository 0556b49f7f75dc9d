"""What arrives in E7, and how confident the discriminator will be: the same for every system."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffserve.profiles.curves import DeferralProfile
from diffserve.replay.client import numbered_prompt
from diffserve.replay.compression import IMAGE_SIDE
from diffserve.scoring.mock import MockScorer
from diffserve.sim.workload import Arrival
from services.worker.backends.mock import draw

LEVELS = (1, 4, 1, 2, 1, 3, 1, 4, 1)
"""Rates of equal stretches of the trace, as multiples of the calm rate."""


def bursty(peak_qps: float, duration_s: float, seed: int) -> list[Arrival]:
    """Return Poisson arrivals whose rate jumps between one and four times the calm rate."""
    generator = np.random.default_rng(seed)
    length_s = duration_s / len(LEVELS)
    times: list[float] = []
    for place, level in enumerate(LEVELS):
        count = generator.poisson(peak_qps * level / max(LEVELS) * length_s)
        times += ((place + generator.random(count)) * length_s).tolist()
    return [Arrival(at_s, index) for index, at_s in enumerate(sorted(times))]


def confidences(count: int, profile: DeferralProfile) -> list[float]:
    """Return the mock discriminator's confidence in the light image of each of so many queries."""
    scorer = MockScorer(profile)
    return [_confidence(scorer, index) for index in range(count)]


def _confidence(scorer: MockScorer, index: int) -> float:
    prompt = numbered_prompt(index)
    image = draw(prompt, index, IMAGE_SIDE, IMAGE_SIDE)
    return float(scorer.score(image[None], [prompt])[0])


def ranks(scores: Sequence[float]) -> list[float]:
    """Return the share of all scores that lie below each."""
    order = np.argsort(np.argsort(scores, kind="stable"), kind="stable")
    return [float(place) / len(scores) for place in order]


def threshold_for(share: float, scores: Sequence[float]) -> float:
    """Return the confidence below which the share lies, by the scores that will come."""
    if share >= 1.0:
        return 1.1
    return sorted(scores)[int(share * len(scores))]
