"""One look for all figures: colours that the colour-blind can tell apart, labels at the lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#333333"
STYLE: Mapping[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#999999",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "diffserve",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True, slots=True)
class Look:
    """How a system is drawn.

    Attributes:
        color: Of Okabe and Ito's palette.
        marker: Shape of its points, for those who see no colours at all.
    """

    color: str
    marker: str


LOOKS: Mapping[str, Look] = {
    "diffserve": Look("#0072B2", "o"),
    "diffserve-paper": Look("#D55E00", "s"),
    "diffserve-static": Look("#E69F00", "^"),
    "proteus": Look("#009E73", "D"),
    "clipper-light": Look("#56B4E9", "v"),
    "clipper-heavy": Look("#CC79A7", "P"),
    "random": Look("#888888", "X"),
    "hadis": Look("#000000", "h"),
}
_NEAR_X, _NEAR_Y = 0.2, 0.05
"""Labels within these shares of the axes would touch."""
_OTHERS = (Look("#555555", "<"), Look("#999933", ">"), Look("#AA4499", "p"), Look("#44AA99", "*"))


def look(name: str) -> Look:
    """Return the look of a system; one that is not known gets one of a few others."""
    return LOOKS.get(name) or _OTHERS[sum(name.encode()) % len(_OTHERS)]


def smoothed(values: Sequence[float | None], width: int) -> list[float]:
    """Return the centred mean over ``width`` windows; NaN where there is nothing."""
    result = []
    for index in range(len(values)):
        near = values[max(0, index - width // 2) : index + width // 2 + 1]
        known = [value for value in near if value is not None and not math.isnan(value)]
        result.append(sum(known) / len(known) if known else math.nan)
    return result


def spaced(heights: Sequence[float], gap: float) -> list[float]:
    """Return ascending heights at least ``gap`` apart, and as near to the given ones as is easy."""
    moved = list(heights)
    for index in range(1, len(moved)):
        moved[index] = max(moved[index], moved[index - 1] + gap)
    # Those that were pushed, were pushed upwards: half of that is given back, from the bottom up.
    lowest = 0.0
    for index, height in enumerate(heights):
        moved[index] = max(lowest, (moved[index] + height) / 2.0)
        lowest = moved[index] + gap
    return moved


def label_ends(axes: Axes, ends: Mapping[str, tuple[float, float]], gap: float = 0.055) -> None:
    """Write names next to the right ends of lines, moved apart where they would touch.

    Args:
        axes: With limits that are final.
        ends: By name, the last point of the line.
        gap: Least distance, as a share of the axis.
    """
    low, high = axes.get_ylim()
    order = sorted(ends, key=lambda name: ends[name][1])
    heights = spaced([(ends[name][1] - low) / (high - low) for name in order], gap)
    for name, height in zip(order, heights, strict=True):
        axes.annotate(
            name,
            xy=(1.0, height),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            color=look(name).color,
            va="center",
            fontsize=8,
            annotation_clip=False,
        )


def label_points(axes: Axes, places: Mapping[str, tuple[float, float]]) -> None:
    """Write names to the right of points, those near each other one above the other.

    Args:
        axes: With limits that are final.
        places: By name, in units of the data.
    """
    to_share = axes.transData + axes.transAxes.inverted()
    written: list[tuple[float, float]] = []
    for name in sorted(places, key=lambda name: places[name][1]):
        x, y = to_share.transform(places[name])
        for other_x, other_y in written:
            if abs(other_x - x) < _NEAR_X and y - other_y < _NEAR_Y:
                y = other_y + _NEAR_Y
        written.append((x, y))
        axes.annotate(
            name,
            xy=(x, y),
            xycoords="axes fraction",
            xytext=(7, 0),
            textcoords="offset points",
            color=look(name).color,
            va="center",
            fontsize=8,
        )


def band(
    axes: Axes,
    name: str,
    xs: Sequence[float],
    middle: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
) -> None:
    """Draw a line through medians, with the range of the seeds as a shade."""
    chosen = look(name)
    axes.plot(
        xs, middle, color=chosen.color, marker=chosen.marker, markersize=4, clip_on=False, zorder=3
    )
    axes.fill_between(xs, low, high, color=chosen.color, alpha=0.15, linewidth=0)
