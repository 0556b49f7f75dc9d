"""Trains a head for every pair of variants on some of the prompts, and grades it on the others."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffserve.building.choice import PairName, cascade_id
from diffserve.building.grading import gain_share
from diffserve.building.pairs import OperatingPoint, PairedOutcomes
from diffserve.gain.head import GainHead
from diffserve.gain.preference import Doubles, Embeddings, Preferences, similarities
from diffserve.gain.ridge import features_of, fit

GRADED_FRACTION = 0.4
"""Share deferred at which ways of choosing are compared."""
NUM_PROMPTS_MIN = 20
"""Fewer say nothing: half of them train a head, half grade it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What was drawn for N prompts, as networks see it.

    Attributes:
        preferences: Of the judge.
        images: Features of every variant's images, by variant, shape (N, D) each.
        texts: Of the prompts, shape (N, D).
        image_s: Device seconds of one image, by variant, the fastest first.
        scoring_s: Device seconds of one confidence.
    """

    preferences: Preferences
    images: Mapping[str, Embeddings]
    texts: Embeddings
    image_s: Mapping[str, float]
    scoring_s: float

    @property
    def trained(self) -> NDArray[np.bool_]:
        """The prompts that heads are trained on: every other one. They are in no order."""
        return np.asarray(np.arange(len(self.texts)) % 2 == 0)

    @property
    def graded(self) -> NDArray[np.bool_]:
        """All others: what is chosen and reported is measured on these."""
        return ~self.trained


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedPair:
    """A pair of variants with its head.

    Attributes:
        name: Its parts.
        head: Trained.
        outcomes: On the graded prompts, with the head's confidences.
        similarity: Confidences of the graded prompts by the cosine of image and prompt, untrained.
        correlation: Of the gains of the prompts trained on with what heads predict that were
            trained on all others; 0 where nothing was learnt.
    """

    name: PairName
    head: GainHead
    outcomes: PairedOutcomes
    similarity: Doubles
    correlation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Mean quality with ``GRADED_FRACTION`` deferred, by what chooses the images.

    Attributes:
        random: Chance.
        similarity: The cosine of image and prompt, untrained.
        head: The trained head.
        oracle: Who knows both images.
        similarity_share: Of the oracle's gain over chance; NaN where there is none.
        head_share: The same of the head.
        light_better: Share of the prompts whose light image is the better one.
    """

    random: float
    similarity: float
    head: float
    oracle: float
    similarity_share: float
    head_share: float
    light_better: float


def train(drawn: Drawn) -> dict[PairName, TrainedPair]:
    """Train a head for every pair, a faster variant before a slower one.

    Raises:
        ValueError: there are fewer prompts than ``NUM_PROMPTS_MIN``.
    """
    if len(drawn.texts) < NUM_PROMPTS_MIN:
        raise ValueError(f"{len(drawn.texts)} prompts; at least {NUM_PROMPTS_MIN} are needed")
    pairs = (_train_pair(drawn, *pair) for pair in itertools.combinations(drawn.image_s, 2))
    return {pair.name: pair for pair in pairs}


def singles(drawn: Drawn) -> dict[str, OperatingPoint]:
    """Return what every variant gives and costs alone, on the graded prompts."""
    return {
        variant: OperatingPoint(
            fraction=0.0,
            quality=float(drawn.preferences.qualities[variant][drawn.graded].mean()),
            device_s=seconds,
        )
        for variant, seconds in drawn.image_s.items()
    }


def routing(pair: TrainedPair) -> Routing:
    """Compare ways of choosing the images that are deferred, on the graded prompts."""
    own = pair.outcomes
    chance, gains = np.zeros(len(own.light)), own.heavy - own.light

    def quality(confidences: NDArray[np.floating]) -> float:
        (point,) = PairedOutcomes(
            light=own.light,
            heavy=own.heavy,
            confidences=confidences,
            light_s=own.light_s,
            heavy_s=own.heavy_s,
            scoring_s=own.scoring_s,
        ).points((GRADED_FRACTION,))
        return point.quality

    def share(confidences: NDArray[np.floating]) -> float:
        return gain_share(confidences, own.light, own.heavy, GRADED_FRACTION)

    return Routing(
        random=quality(chance),
        similarity=quality(pair.similarity),
        head=quality(own.confidences),
        oracle=quality(-gains),
        similarity_share=share(pair.similarity),
        head_share=share(own.confidences),
        light_better=float((gains < 0.0).mean()),
    )


def telling_prompts(
    pair: TrainedPair, prompts: Sequence[str], count: int
) -> tuple[list[str], list[str]]:
    """Return the graded prompts that gain least, and those that gain most, from being deferred.

    Args:
        pair: Graded on the prompts.
        prompts: Those that it was graded on, in order.
        count: Of either kind.
    """
    order = np.argsort(pair.outcomes.heavy - pair.outcomes.light, kind="stable")
    least, most = order[:count], order[::-1][:count]
    return [prompts[row] for row in least], [prompts[row] for row in most]


def _train_pair(drawn: Drawn, light: str, heavy: str) -> TrainedPair:
    trained, graded = drawn.trained, drawn.graded
    qualities = drawn.preferences.qualities
    gains = (qualities[heavy] - qualities[light])[trained]
    images, texts = drawn.images[light], drawn.texts
    fitted = fit(features_of(images[trained], texts[trained]), gains)
    head = GainHead.of(fitted)
    name = PairName(light, heavy, "")
    return TrainedPair(
        name=PairName(light, heavy, f"{cascade_id(name)}-gain"),
        head=head,
        outcomes=PairedOutcomes(
            light=qualities[light][graded],
            heavy=qualities[heavy][graded],
            confidences=head.confidences(images[graded], texts[graded]),
            light_s=drawn.image_s[light],
            heavy_s=drawn.image_s[heavy],
            scoring_s=drawn.scoring_s,
        ),
        similarity=similarities(images[graded], texts[graded]),
        correlation=_correlation(fitted.left_out, gains) if np.isfinite(fitted.penalty) else 0.0,
    )


def _correlation(predicted: Doubles, gains: Doubles) -> float:
    if predicted.std() == 0.0 or gains.std() == 0.0:
        return 0.0
    return float(np.corrcoef(predicted, gains)[0, 1])
