"""What an evaluation found: accuracy, distances, grades of the discriminators, the best cascade."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diffserve.building.choice import Candidate, PairName, choose
from diffserve.building.grading import auroc, gain_share
from diffserve.building.pairs import OperatingPoint, PairedOutcomes
from diffserve.embedded.evaluate import Costs, Outcome, Part
from diffserve.embedded.presets import DISCRIMINATOR_FOLDER, HEAVY, LIGHT

#: The share deferred at which discriminators are graded.
GRADED_FRACTION = 0.4
#: By distance, heavy is clearly better if the light image is this many times as far away.
CLEARLY_FARTHER = 1.5

_Values = NDArray[np.float64]
_Mask = NDArray[np.bool_]
Measure = Literal["by_checker", "by_oracle", "distances", "features"]


@dataclass(frozen=True)
class Verdict:
    """How a cascade compares with its zoo's heavy variant, on prompts it was not chosen on.

    Attributes:
        accuracy_vs_heavy: Ratio of the shares of right images.
        device_time_vs_heavy: Ratio of the mean device times of an image, each drawn alone.
    """

    accuracy_vs_heavy: float
    device_time_vs_heavy: float


class Findings:
    """Everything that was drawn, put together; arrays hold one value per prompt, in order."""

    def __init__(
        self, outcomes: Mapping[Part, Outcome], costs: Costs, variants: tuple[str, ...]
    ) -> None:
        """Keep the outcomes.

        Args:
            outcomes: By part.
            costs: What images and scores cost.
            variants: Names, the fastest first; at least two.
        """
        self.outcomes = outcomes
        self.costs = costs
        self.variants = variants
        #: Folders of the discriminators.
        self.discriminators = tuple(costs.scores_s)
        #: Discriminators are graded on images of the one, and times told against the other:
        #: ``LIGHT`` and ``HEAVY`` where they are among these, else the fastest and the slowest.
        self.light = LIGHT.name if LIGHT.name in variants[:-1] else variants[0]
        self.heavy = HEAVY.name if HEAVY.name in variants else variants[-1]

    @cached_property
    def seeds(self) -> NDArray[np.int_]:
        """The seed of every prompt."""
        return np.concatenate([[part.seed] * len(part.prompts) for part in self.outcomes])

    @cached_property
    def levels(self) -> NDArray[np.str_]:
        """The level of every prompt, by name."""
        return np.concatenate([[part.level.value] * len(part.prompts) for part in self.outcomes])

    @cached_property
    def styles(self) -> NDArray[np.str_]:
        """The style that every prompt asks for; empty where it leaves that open."""
        prompts = itertools.chain.from_iterable(part.prompts for part in self.outcomes)
        return np.array([prompt.scene.style if prompt.names_style else "" for prompt in prompts])

    def measured(self, variant: str, measure: Measure) -> NDArray[Any]:
        """Return what a judge says about every image of a variant."""
        return np.concatenate(
            [getattr(outcome.drawn[variant], measure) for outcome in self.outcomes.values()]
        )

    def right(self, variant: str) -> _Values:
        """Return 1 for every image that is right as the checker sees it, and 0 for others."""
        return self.measured(variant, "by_checker").astype(float)

    def confidences(self, variant: str, discriminator: str) -> _Values:
        """Return a discriminator's confidence in every image of a variant."""
        return np.concatenate(
            [
                outcome.drawn[variant].confidences[discriminator]
                for outcome in self.outcomes.values()
            ]
        ).astype(float)

    def renders(self, name: Literal["real", "real_distances", "other_real"]) -> NDArray[np.float32]:
        """Return what was measured on renders; see ``Outcome``."""
        return np.concatenate([getattr(outcome, name) for outcome in self.outcomes.values()])

    def pair(self, light: str, heavy: str, discriminator: str, chosen: _Mask) -> PairedOutcomes:
        """Return what two variants drew for some of the prompts; images are timed alone."""
        alone_s = self.costs.images_s[1]
        return PairedOutcomes(
            light=self.right(light)[chosen],
            heavy=self.right(heavy)[chosen],
            confidences=self.confidences(light, discriminator)[chosen],
            light_s=alone_s[light],
            heavy_s=alone_s[heavy],
            scoring_s=self.costs.scores_s[discriminator],
        )

    def candidates(
        self, chosen: _Mask, discriminators: Sequence[str]
    ) -> dict[PairName, PairedOutcomes]:
        """Return every pair with every one of some discriminators, on some of the prompts."""
        return {
            PairName(light, heavy, discriminator): self.pair(light, heavy, discriminator, chosen)
            for light, heavy in self.pairs
            for discriminator in discriminators
        }

    def singles(self, chosen: _Mask) -> dict[str, OperatingPoint]:
        """Return what every variant gives and costs alone, on some of the prompts."""
        return {
            name: OperatingPoint(
                fraction=0.0,
                quality=float(self.right(name)[chosen].mean()),
                device_s=self.costs.images_s[1][name],
            )
            for name in self.variants
        }

    @property
    def everything(self) -> _Mask:
        """All prompts."""
        return np.ones(len(self.seeds), bool)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All cascades that the variants make, a faster one before a slower one."""
        return list(itertools.combinations(self.variants, 2))


def clearly_better(findings: Findings, by: Literal["checker", "distance"]) -> _Mask:
    """Return for every prompt whether the heavy image is clearly better than the light one.

    Args:
        findings: What was drawn.
        by: "checker": heavy is right and light is wrong. "distance": light is at least
            ``CLEARLY_FARTHER`` times as far from the reference render.
    """
    light, heavy = findings.light, findings.heavy
    if by == "checker":
        return findings.right(heavy) > findings.right(light)
    distances = [findings.measured(variant, "distances") for variant in (light, heavy)]
    better: _Mask = distances[0] >= CLEARLY_FARTHER * distances[1]
    return better


def grade(findings: Findings, discriminator: str, better: _Mask, chosen: _Mask) -> float:
    """Return the AUROC of a discriminator: low confidence where heavy is clearly better.

    Args:
        findings: What was drawn.
        discriminator: By folder.
        better: See ``clearly_better``.
        chosen: The prompts that count.
    """
    confidences = findings.confidences(findings.light, discriminator).astype(np.float32)
    return auroc(confidences[chosen], ~better[chosen])


def share_of_oracle(findings: Findings, discriminator: str, chosen: _Mask) -> float:
    """Return the share of the oracle's gain over random routing, ``GRADED_FRACTION`` deferred."""
    return gain_share(
        findings.confidences(findings.light, discriminator).astype(np.float32)[chosen],
        findings.right(findings.light)[chosen],
        findings.right(findings.heavy)[chosen],
        GRADED_FRACTION,
    )


def choose_cascade(
    findings: Findings, chosen: _Mask, discriminator: str = DISCRIMINATOR_FOLDER
) -> Candidate:
    """Return the cascade that ``diffserve cascade build`` would choose, with one discriminator.

    Args:
        findings: What was drawn.
        chosen: The prompts that the choice may look at.
        discriminator: Decides what is deferred.
    """
    candidates = findings.candidates(chosen, (discriminator,))
    return choose(candidates, findings.singles(chosen)).default


def cross_validated(findings: Findings, discriminator: str = DISCRIMINATOR_FOLDER) -> Verdict:
    """Choose a cascade without one seed's prompts and try it on those; average over the seeds.

    With a single seed there are no other prompts, and the choice is tried on its own.
    """
    accuracies, times_s, heavy = [], [], findings.right(findings.heavy)
    seeds = np.unique(findings.seeds)
    for seed in seeds:
        tried = findings.seeds == seed
        choice = choose_cascade(findings, ~tried if len(seeds) > 1 else tried, discriminator)
        pair = findings.pair(choice.name.light, choice.name.heavy, discriminator, tried)
        (point,) = pair.points((choice.point.fraction,))
        accuracies.append(point.quality)
        times_s.append(point.device_s)
    return Verdict(
        accuracy_vs_heavy=float(np.mean(accuracies) / heavy.mean()),
        device_time_vs_heavy=float(np.mean(times_s) / findings.costs.images_s[1][findings.heavy]),
    )
