"""A made-up evaluation: three variants, a perfect discriminator and one that knows nothing."""

from __future__ import annotations

import numpy as np

from diffserve.embedded.evaluate import Costs, Drawn, Outcome, Part, Request, parts_of
from diffserve.embedded.findings import Findings
from diffserve.embedded.presets import (
    DISCRIMINATOR_FOLDER,
    HEAVY,
    LIGHT,
    MEDIUM,
    REALNESS_FOLDER,
)
from diffserve.embedded.scenes import Level

REQUEST = Request(presets=(LIGHT, MEDIUM, HEAVY), seeds=(0, 1), count=20)
NAMES = (LIGHT.name, MEDIUM.name, HEAVY.name)
COSTS = Costs(
    images_s={1: {LIGHT.name: 0.1, MEDIUM.name: 0.3, HEAVY.name: 1.0}},
    scores_s={DISCRIMINATOR_FOLDER: 0.01, REALNESS_FOLDER: 0.001},
    num_parameters=dict.fromkeys(NAMES, 10),
)


def right(variant: str, part: Part) -> np.ndarray:
    """Heavy is always right, medium in 19 of 20, light only with one object."""
    count = len(part.prompts)
    if variant == LIGHT.name:
        return np.full(count, part.level is Level.ONE)
    return np.arange(count) < (19 if variant == MEDIUM.name else count)


def drawn(variant: str, part: Part) -> Drawn:
    is_right = right(variant, part)
    features = np.random.default_rng([part.seed, NAMES.index(variant)]).standard_normal((20, 4))
    return Drawn(
        by_checker=is_right,
        by_oracle=is_right,
        distances=np.where(is_right, 0.5, 1.0),
        features=features.astype(np.float32),
        confidences={
            DISCRIMINATOR_FOLDER: np.where(is_right, 0.9, 0.1).astype(np.float32),
            REALNESS_FOLDER: np.full(len(is_right), 0.5, np.float32),
        },
    )


def findings() -> Findings:
    outcomes = {}
    for part in parts_of(REQUEST):
        real = np.random.default_rng(part.seed).standard_normal((20, 4)).astype(np.float32)
        outcomes[part] = Outcome(
            drawn={name: drawn(name, part) for name in NAMES},
            real=real,
            real_distances=np.full(20, 0.2, np.float32),
            other_real=real + 0.1,
        )
    return Findings(outcomes, COSTS, NAMES)
