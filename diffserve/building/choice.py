"""Which cascades of a zoo are worth serving: the Pareto-best of quality against device time.

The paper's abstract promises cascades that are constructed automatically from available variants;
its artifact has no code for that. Pure: measured outcomes go in, a choice comes out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffserve.building.pairs import OperatingPoint, PairedOutcomes, cheapest, pareto_best

#: Share of the best single variant's quality that a cascade is to keep.
QUALITY_KEPT = 0.97


@dataclass(frozen=True, order=True, slots=True)
class PairName:
    """Names of a cascade's parts.

    Attributes:
        light: Variant that draws first.
        heavy: Variant that draws again.
        discriminator: Scores the light images.
    """

    light: str
    heavy: str
    discriminator: str


def cascade_id(name: PairName) -> str:
    """Return what a cascade is called after its variants."""
    return f"{name.light}-{name.heavy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A pair, and where it would run.

    Attributes:
        name: Its parts.
        outcomes: What both variants drew.
        point: Share deferred at which it is cheapest while good enough; else at its best quality.
        is_good_enough: Its quality reaches what was asked for.
        is_kept: Some share of it is on the front of all candidates and single variants.
    """

    name: PairName
    outcomes: PairedOutcomes
    point: OperatingPoint
    is_good_enough: bool
    is_kept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What was chosen.

    Attributes:
        candidates: All, in the order of their names, one discriminator each.
        default: The cheapest that is good enough; the best one where none is.
        quality_min: What was asked for, with a standard error to spare at the default's share.
    """

    candidates: tuple[Candidate, ...]
    default: Candidate
    quality_min: float


def choose(
    pairs: Mapping[PairName, PairedOutcomes],
    singles: Mapping[str, OperatingPoint],
    quality_kept: float = QUALITY_KEPT,
) -> Choice:
    """Choose cascades; pure.

    What is good enough is so by a standard error: the cheapest of many points that look good enough
    on some prompts is mostly one that was lucky with them. It is the binomial's where images are
    right or wrong; where qualities are in between, it is less by how much less answers vary.

    Args:
        pairs: What every ordered pair drew, with each discriminator; one at least. Qualities are
            in [0, 1].
        singles: Quality and device time of every variant alone.
        quality_kept: Share of the best single variant's quality to keep, 0..1.

    Raises:
        ValueError: there is no pair.
    """
    if not pairs:
        raise ValueError("no pair of variants to choose from")
    asked = quality_kept * max(single.quality for single in singles.values())
    num_prompts = min(len(outcomes.light) for outcomes in pairs.values())
    error = math.sqrt(max(0.0, asked * (1.0 - asked)) / num_prompts)
    by_variants: dict[tuple[str, str], list[Candidate]] = {}
    for name in sorted(pairs):
        candidate = _candidate(name, pairs[name], asked, error)
        by_variants.setdefault((name.light, name.heavy), []).append(candidate)
    graded = [min(group, key=_preference) for group in by_variants.values()]
    front = pareto_best(
        [*singles.values(), *(point for c in graded for point in c.outcomes.points())]
    )
    kept = tuple(
        Candidate(
            name=c.name,
            outcomes=c.outcomes,
            point=c.point,
            is_good_enough=c.is_good_enough,
            is_kept=_reaches(c.outcomes.points(), front),
        )
        for c in graded
    )
    default = min(kept, key=_preference)
    (spread,) = default.outcomes.spreads((default.point.fraction,))
    return Choice(candidates=kept, default=default, quality_min=asked + spread * error)


def _candidate(name: PairName, outcomes: PairedOutcomes, asked: float, error: float) -> Candidate:
    points, spreads = outcomes.points(), outcomes.spreads()
    good_enough = (
        p for p, s in zip(points, spreads, strict=True) if p.quality >= asked + s * error
    )
    point = cheapest(good_enough, asked)
    best = max(points, key=lambda p: (p.quality, -p.device_s))
    return Candidate(
        name=name,
        outcomes=outcomes,
        point=point or best,
        is_good_enough=point is not None,
        is_kept=False,
    )


def _preference(candidate: Candidate) -> tuple[bool, float, float, PairName]:
    """Return what is least for the best: good enough and cheap, or else as good as can be."""
    point = candidate.point
    if candidate.is_good_enough:
        return (False, point.device_s, -point.quality, candidate.name)
    return (True, -point.quality, point.device_s, candidate.name)


def _reaches(points: Sequence[OperatingPoint], front: Sequence[OperatingPoint]) -> bool:
    """Tell whether a share strictly between none and all is on the front."""
    inner = {(p.device_s, p.quality) for p in points if 0.0 < p.fraction < 1.0}
    return any((p.device_s, p.quality) in inner for p in front)
