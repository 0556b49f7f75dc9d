"""What the page of `diffserve cascade build --registry` says beyond the others'."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from diffserve.building.choice import PairName, cascade_id
from diffserve.experiments.built_cascades import Wording
from diffserve.experiments.experiment import Table
from diffserve.gain.model_card import Judged
from diffserve.gain.training import GRADED_FRACTION, Drawn, Routing


def wording(judged: Judged) -> Wording:
    """Return how the page speaks of preferences."""
    return Wording(
        quality="preference",
        verb="preferred",
        judged=(
            f"Measured: the quality of an answer is the {judged.metric}. So 50 % is as good as "
            f"`{judged.best}`, the variant with the highest mean score, and more than that is "
            "better than it. The judge is a model, not a person.",
            f"Measured: {judged.num_trained} prompts trained the discriminators, linear heads over "
            f"features of `{judged.features}`; everything on this page is measured on "
            f"{judged.num_graded} others. Every variant drew them with the same seed per prompt.",
            "Measured: latencies by the wall clock on this device, as a worker runs the variants; "
            "device time in the choice is the median of single images, and of the features of one "
            "image and its prompt.",
        ),
    )


def routing_table(routings: Mapping[PairName, Routing]) -> Table:
    """Return what chooses how well, by pair."""
    rows = [
        (
            cascade_id(name),
            *(f"{100 * q:.1f}" for q in (one.random, one.similarity, one.head, one.oracle)),
            _percent(one.similarity_share),
            _percent(one.head_share),
            _percent(one.light_better),
        )
        for name, one in routings.items()
    ]
    return Table(
        "What decides",
        (
            *("cascade", "random", "similarity", "trained head", "oracle"),
            *("similarity, % of the oracle", "head, % of the oracle", "light is better, %"),
        ),
        rows,
        f"Preferred, %, with {100 * GRADED_FRACTION:.0f} % deferred: at random, by the untrained "
        "similarity of image and prompt in the features' network, by the trained head, and by who "
        "knows both images. Then the share of the oracle's gain over random routing; below zero is "
        "worse than chance. Last, the share of prompts whose light image the judge likes better "
        "than the heavy one.",
    )


def judge_table(drawn: Drawn) -> Table:
    """Return what the judge says of every variant alone, on the graded prompts."""
    preferences, graded = drawn.preferences, drawn.graded
    best = preferences.scores[preferences.best]
    rows = [
        (
            variant,
            f"{preferences.scores[variant][graded].mean():.3f}",
            f"{100 * preferences.qualities[variant][graded].mean():.1f}",
            "-"
            if variant == preferences.best
            else f"{100 * np.mean((preferences.scores[variant] > best)[graded]):.0f}",
        )
        for variant in drawn.image_s
    ]
    return Table(
        "The judge's view",
        ("variant", "mean score", "preferred, %", "better image than the best variant, %"),
        rows,
        "Scores are the judge's own: its scale times the cosine of image and prompt. A variant may "
        "draw many prompts better than the one that is best on average.",
    )


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.0f}"
