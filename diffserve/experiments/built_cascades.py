"""The page of `diffserve cascade build`: what was measured, and why these cascades were kept."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from diffserve.building.catalog_file import Profile
from diffserve.building.choice import Candidate, Choice, cascade_id
from diffserve.building.pairs import OperatingPoint
from diffserve.experiments.drawing import INK
from diffserve.experiments.experiment import Figure, Result, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

NAME = "cascades"
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
CROWD = "#cccccc"
"""Colour of pairs beyond those that have one of their own."""
UNNAMED = "_"
"""Label of lines that a legend leaves out."""
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How a page speaks of quality, which it gives in percent.

    Attributes:
        quality: What it is called, e.g. "accuracy".
        verb: What is so of that many answers, e.g. "right"; in columns and on axes.
        judged: How it was judged and on which prompts, as sentences of the inputs.
        limits: Of the axes of quality, percent; None: as the curves need.
    """

    quality: str
    verb: str
    judged: tuple[str, ...]
    limits: tuple[float, float] | None = None


def accuracy(num_prompts: int) -> Wording:
    """Return the wording for embedded variants, whose images are right or wrong."""
    return Wording(
        quality="accuracy",
        verb="right",
        judged=(
            f"Measured: {num_prompts} prompts of all levels of difficulty, with combinations of "
            "objects that training never saw; an image is right where the slot checker, a network "
            "of its own, finds everything that was asked for.",
            "Measured: latencies by the wall clock, on one thread of this device; device time in "
            "the choice is processor time of single images and scores, which other work on the "
            "machine hardly changes.",
        ),
        limits=(0.0, 102.0),
    )


def page(
    choice: Choice,
    profiles: Mapping[str, Profile],
    singles: Mapping[str, OperatingPoint],
    quality_kept: float,
    wording: Wording,
    further_tables: Sequence[Table] = (),
) -> Result:
    """Return the page.

    Args:
        choice: What was chosen from which candidates.
        profiles: By variant.
        singles: Every variant alone.
        quality_kept: Share of the best variant's quality that was asked for.
        wording: How it speaks of quality.
        further_tables: After those of pairs and variants.
    """
    default, point = choice.default, choice.default.point
    best = max(singles, key=lambda name: singles[name].quality)
    verdict = "" if default.is_good_enough else " No cascade reaches what was asked for."
    return Result(
        name=NAME,
        title="Cascades built from the variants at hand",
        question="Which pairs of variants are worth serving as a cascade on this device, and which "
        f"one keeps {100 * quality_kept:.0f} % of the best variant's {wording.quality} for the "
        "least device time?",
        answer=f"`{cascade_id(default.name)}` with `{default.name.discriminator}`: deferring "
        f"{100 * point.fraction:.0f} % gives {100 * point.quality:.1f} % {wording.verb} in "
        f"{1e3 * point.device_s:.0f} ms of device time; `{best}` alone gives "
        f"{100 * singles[best].quality:.1f} % in {1e3 * singles[best].device_s:.0f} ms. That is "
        f"{100 * point.quality / singles[best].quality:.1f} % of its {wording.quality} at "
        f"{100 * point.device_s / singles[best].device_s:.0f} % of its time.{verdict}",
        inputs=wording.judged,
        tables=(
            _candidates(choice, wording),
            _profiles(profiles, singles, wording),
            *further_tables,
        ),
        figures=_figures(choice, profiles, singles, wording),
        data=_document(choice, profiles, singles),
        is_simulated=False,
        origin="Everything on this page was **measured** on the device at hand.",
    )


def _figures(
    choice: Choice,
    profiles: Mapping[str, Profile],
    singles: Mapping[str, OperatingPoint],
    wording: Wording,
) -> tuple[Figure, ...]:
    quality = wording.quality
    return (
        Figure(
            "pareto",
            f"{quality.capitalize()} against device time",
            functools.partial(_draw_pareto, choice=choice, singles=singles, wording=wording),
            "Lines: pairs, from nothing to everything deferred; bold ones are kept. Crosses: "
            f"variants alone. Dashed: the {quality} that was asked for. The star is the default "
            "at the share it would defer.",
            (8.0, 4.8),
        ),
        Figure(
            "curves",
            f"{quality.capitalize()} against deferral",
            functools.partial(_draw_curves, choice=choice, wording=wording),
            "Each pair with its better discriminator; the least confident images are drawn "
            "again by the heavy variant.",
            (8.0, 4.4),
        ),
        Figure(
            "latency",
            "Latency by batch size",
            functools.partial(_draw_latency, profiles=profiles),
            "Medians, with the 95th percentile as the upper end of the bars; both axes are "
            "logarithmic.",
            (8.0, 4.0),
        ),
    )


def _document(
    choice: Choice, profiles: Mapping[str, Profile], singles: Mapping[str, OperatingPoint]
) -> dict[str, Any]:
    return {
        "default": cascade_id(choice.default.name),
        "quality_min": choice.quality_min,
        "singles": {name: asdict(single) for name, single in singles.items()},
        "candidates": [
            {
                "name": asdict(candidate.name),
                "is_kept": candidate.is_kept,
                "is_good_enough": candidate.is_good_enough,
                "chosen": asdict(candidate.point),
                "points": [asdict(p) for p in candidate.outcomes.points()],
            }
            for candidate in choice.candidates
        ],
        "profiles": {name: asdict(profile) for name, profile in profiles.items()},
    }


def _verdict(candidate: Candidate, choice: Choice) -> str:
    if candidate is choice.default:
        return "default"
    return "kept" if candidate.is_kept else "others are better at every price"


def _candidates(choice: Choice, wording: Wording) -> Table:
    rows = [
        (
            cascade_id(candidate.name),
            candidate.name.discriminator,
            f"{100 * candidate.point.fraction:.0f}",
            f"{100 * candidate.point.quality:.1f}",
            f"{1e3 * candidate.point.device_s:.0f}",
            "yes" if candidate.is_good_enough else "no",
            _verdict(candidate, choice),
        )
        for candidate in choice.candidates
    ]
    return Table(
        "The pairs",
        (
            *("cascade", "discriminator", "deferred, %", f"{wording.verb}, %", "device time, ms"),
            *("good enough", "verdict"),
        ),
        rows,
        f"Where {100 * choice.quality_min:.1f} % {wording.verb}, what was asked for and a standard "
        "error to spare, is reached for the least device time, else "
        f"at the pair's best {wording.quality}. Kept: some share deferred is beaten by no other "
        f"pair or variant in both {wording.quality} and device time; `--class NAME` serves all of "
        "these, mixed by load.",
    )


def _profiles(
    profiles: Mapping[str, Profile], singles: Mapping[str, OperatingPoint], wording: Wording
) -> Table:
    rows = [
        (
            name,
            f"{100 * singles[name].quality:.1f}",
            "  ".join(f"{size}: {1e3 * s:.0f}" for size, s in profile.execution_s.items()),
            "  ".join(f"{size}: {1e3 * s:.0f}" for size, s in profile.execution_s_p95.items()),
            f"{profile.memory_bytes / MIB:.1f}",
            f"{profile.load_s:.2f}",
        )
        for name, profile in profiles.items()
    ]
    return Table(
        "The variants",
        (
            *("variant", f"{wording.verb}, %", "batch: median, ms", "batch: 95th percentile, ms"),
            *("weights, MiB", "load, s"),
        ),
        rows,
    )


def _draw_pareto(
    canvas: Canvas, choice: Choice, singles: Mapping[str, OperatingPoint], wording: Wording
) -> None:
    axes = canvas.subplots()
    for candidate, color, label in _lines(choice):
        points = candidate.outcomes.points()
        axes.plot(
            [1e3 * p.device_s for p in points],
            [100 * p.quality for p in points],
            color=color,
            linewidth=2.2 if candidate.is_kept else 0.8,
            label=label,
        )
    for name, single in singles.items():
        place = (1e3 * single.device_s, 100 * single.quality)
        axes.plot(*place, "x", color=INK)
        axes.annotate(name, place, textcoords="offset points", xytext=(5, -10), fontsize=8)
    point = choice.default.point
    axes.plot(1e3 * point.device_s, 100 * point.quality, "*", color=INK, markersize=13)
    axes.axhline(100 * choice.quality_min, linestyle="--", color=INK, linewidth=0.8)
    axes.set_xlabel("device time per answer, ms")
    axes.set_ylabel(f"{wording.verb}, %")
    axes.set_ylim(wording.limits)
    axes.set_xlim(left=0)
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _lines(choice: Choice) -> Iterator[tuple[Candidate, str, str]]:
    """Yield pairs, their colours and names; of more than there are colours only the kept have both.

    The names of all 36 pairs of nine variants would leave no room for the curves.
    """
    is_crowded = len(choice.candidates) > len(COLORS)
    colors = itertools.cycle(COLORS)
    for candidate in choice.candidates:
        if is_crowded and not candidate.is_kept and candidate is not choice.default:
            yield candidate, CROWD, UNNAMED
        else:
            yield candidate, next(colors), cascade_id(candidate.name)


def _draw_curves(canvas: Canvas, choice: Choice, wording: Wording) -> None:
    axes = canvas.subplots()
    for candidate, color, label in _lines(choice):
        points = candidate.outcomes.points()
        axes.plot(
            [100 * p.fraction for p in points],
            [100 * p.quality for p in points],
            color=color,
            label=label,
        )
    axes.set_xlabel("deferred, %")
    axes.set_ylabel(f"{wording.verb}, %")
    axes.set_ylim(wording.limits)
    axes.legend(frameon=False, fontsize=8, loc="lower right")


def _draw_latency(canvas: Canvas, profiles: Mapping[str, Profile]) -> None:
    axes = canvas.subplots()
    for (name, profile), color in zip(profiles.items(), itertools.cycle(COLORS), strict=False):
        sizes = list(profile.execution_s)
        medians = [1e3 * profile.execution_s[size] for size in sizes]
        above = [
            max(0.0, 1e3 * profile.execution_s_p95[s] - m)
            for s, m in zip(sizes, medians, strict=True)
        ]
        axes.errorbar(
            sizes, medians, yerr=([0.0] * len(sizes), above), color=color, marker="o", label=name
        )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("batch size")
    axes.set_ylabel("ms per batch")
    axes.legend(frameon=False, fontsize=8)
