"""Figures of the comparison with HADIS."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diffserve.experiments.comparison import SMOOTHING, violation_series
from diffserve.experiments.drawing import label_ends, look, smoothed
from diffserve.experiments.experiment import Figure
from diffserve.experiments.spread import Runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

COLORS = ("#56B4E9", "#999999", "#dddddd", "#0072B2", "#E69F00", "#D55E00")
"""Of the pairs, in the order of the catalog; the pairs nobody plans with are grey."""


def planned_figure(
    demands: Sequence[float], curves: Mapping[str, Sequence[float]], names: Mapping[str, str]
) -> Figure:
    """Return planned quality against demand.

    Args:
        demands: Queries per second, real time.
        curves: FID by name, at each demand.
        names: Of those, the ones to draw -> which system's look they get.
    """
    draw = functools.partial(_draw_planned, demands=demands, curves=curves, names=names)
    caption = (
        "What plans promise on 16 workers, nothing simulated, no worker kept in reserve. The "
        "vertical axis does not start at zero; lower is better."
    )
    return Figure("planned", "Planned quality against demand", draw, caption)


def _draw_planned(
    canvas: Canvas,
    demands: Sequence[float],
    curves: Mapping[str, Sequence[float]],
    names: Mapping[str, str],
) -> None:
    axes = canvas.subplots()
    for name, system in names.items():
        chosen = look(system)
        axes.plot(
            demands,
            curves[name],
            color=chosen.color,
            marker=chosen.marker,
            markersize=4,
            label=name,
            clip_on=False,
        )
    axes.set_xlabel("demand, queries per second (real time)")
    axes.set_ylabel("planned FID by HADIS's table")
    axes.legend(loc="lower right")


def run_figure(systems: Mapping[str, Runs]) -> Figure:
    """Return load, violations and quality over time, for the first seed."""
    caption = (
        f"One run of each system (first seed), windows of 5 s of arrival averaged over "
        f"{SMOOTHING}, in compressed time. Violations start at zero, FID does not. FID by HADIS's "
        "table; lower is better."
    )
    draw = functools.partial(_draw_runs, systems=systems)
    return Figure("over-time", "The run over time", draw, caption, size=(8.5, 6.5))


def _draw_runs(canvas: Canvas, systems: Mapping[str, Runs]) -> None:
    panels: list[Axes] = list(canvas.subplots(3, 1, sharex=True))
    first = next(iter(systems.values())).first["windows"]
    width_s = first["start_s"][1] - first["start_s"][0]
    rates = [count / width_s for count in first["arrivals"]]
    panels[0].plot(first["start_s"], rates, color="#555555", linewidth=1.0)
    panels[0].set_title("arrivals, queries per second")
    panels[0].set_ylim(bottom=0.0)
    panels[1].set_title("violations, % of arrivals")
    panels[2].set_title("FID by HADIS's table")
    for name, runs in systems.items():
        windows = runs.first["windows"]
        for axes, values in (
            (panels[1], violation_series(runs.first)),
            (panels[2], windows["quality"]),
        ):
            ys = smoothed(values, SMOOTHING)
            axes.plot(windows["start_s"], ys, color=look(name).color, clip_on=False, zorder=3)
    panels[1].set_ylim(bottom=0.0)
    ends = {}
    for name, runs in systems.items():
        known = [y for y in smoothed(runs.first["windows"]["quality"], SMOOTHING) if y == y]
        ends[name] = (0.0, known[-1] if known else 0.0)
    label_ends(panels[2], ends, gap=0.14)
    panels[2].set_xlabel("time, s (ten times as fast as reality)")


def pairs_figure(systems: Mapping[str, Runs], pairs: Mapping[str, str]) -> Figure:
    """Return which pairs answer how many queries over time, for the first seed.

    Args:
        systems: A panel each.
        pairs: ``cascade_id`` -> name.
    """
    caption = (
        "Answers in time by the pair that served them, windows of 5 s of arrival, first seed. "
        "HADIS serves one pair at a time, DiffServe mixes them."
    )
    draw = functools.partial(_draw_pairs, systems=systems, pairs=pairs)
    return Figure("pairs", "Pairs in use over time", draw, caption, size=(8.5, 5.5))


def _draw_pairs(canvas: Canvas, systems: Mapping[str, Runs], pairs: Mapping[str, str]) -> None:
    panels: list[Axes] = list(canvas.subplots(len(systems), 1, sharex=True, squeeze=False)[:, 0])
    for axes, (name, runs) in zip(panels, systems.items(), strict=True):
        windows: dict[str, Any] = runs.first["windows"]
        width_s = windows["start_s"][1] - windows["start_s"][0]
        empty = [0] * len(windows["start_s"])
        rates = [
            [count / width_s for count in windows["answers"].get(pair, empty)] for pair in pairs
        ]
        axes.stackplot(
            windows["start_s"], rates, labels=list(pairs.values()), colors=COLORS, linewidth=0
        )
        axes.set_title(f"{name}: answers per second")
        axes.set_ylim(bottom=0.0)
    panels[0].legend(loc="upper left", ncols=2)
    panels[-1].set_xlabel("time, s (ten times as fast as reality)")
