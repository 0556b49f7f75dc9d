"""One parameter turned, everything else equal: the table and the lines that several pages share."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from diffserve.experiments.drawing import band, label_ends
from diffserve.experiments.experiment import Figure, Table
from diffserve.experiments.spread import Runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

COLUMNS = (
    "violations, %",
    "refused, %",
    "heavy share, %",
    "FID, windowed",
    "bound",
    "devices busy, %",
    "p99, s",
)
NOTE = (
    "Violations: accepted and not answered by the deadline; refused: told so at the door. FID by "
    "the authors' table; lower is better; bound: its value for a clairvoyant fluid on the same "
    "arrivals."
)

LabelsT = TypeVar("LabelsT", bound=tuple[str, ...])
Points = Mapping[tuple[str, float], Runs]
"""Runs by system and value of the parameter."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the plots side by side.

    Attributes:
        metric: Of the runs.
        title: With its unit.
        factor: On the metric.
        from_zero: Whether the axis starts there.
    """

    metric: str
    title: str
    factor: float = 1.0
    from_zero: bool = False


VIOLATIONS = Panel("slo_violation_ratio", "violations, % of queries", 100.0, from_zero=True)
QUALITY = Panel("quality_windowed", "FID by the authors' table, windowed")
BUSY = Panel("device_busy", "devices busy, %", 100.0, from_zero=True)


def cells(runs: Runs) -> tuple[str, ...]:
    """Return a row of ``COLUMNS``."""
    return (
        runs.spread("slo_violation_ratio").percent(),
        runs.spread("rejected_ratio").percent(),
        runs.spread("heavy_share").middle(".1f", 100.0),
        runs.spread("quality_windowed").text(".2f"),
        runs.spread("bound_quality_windowed").middle(".2f"),
        runs.spread("device_busy").middle(".0f", 100.0),
        runs.spread("latency_s_p99").middle(".2f"),
    )


def labelled_table(
    title: str, heads: Sequence[str], rows: Mapping[LabelsT, Runs], note: str = NOTE
) -> Table:
    """Return a table whose rows begin with their labels."""
    lines = [(*labels, *cells(runs)) for labels, runs in rows.items()]
    return Table(title, (*heads, *COLUMNS), lines, note)


def sweep_table(title: str, parameter: str, points: Points, form: str = "g") -> Table:
    """Return a table of all points, ordered by the parameter, then as they come."""
    ordered = sorted(points.items(), key=lambda point: point[0][1])
    rows = {(format(value, form), system): runs for (system, value), runs in ordered}
    return labelled_table(title, (parameter, "system"), rows)


def sweep_figure(
    name: str,
    title: str,
    parameter: str,
    points: Points,
    panels: Sequence[Panel] = (VIOLATIONS, QUALITY),
    *,
    ticks: Sequence[float] = (),
    is_log: bool = False,
) -> Figure:
    """Return lines over the parameter, one per system, medians with the range of the seeds."""
    draw = functools.partial(
        _draw, parameter=parameter, points=points, panels=panels, ticks=ticks, is_log=is_log
    )
    zero = ", ".join(panel.title for panel in panels if panel.from_zero)
    caption = (
        f"Medians over the seeds; shades reach from the least to the largest. From zero: {zero}; "
        "the other axes are not."
    )
    return Figure(name, title, draw, caption, size=(1.0 + 4.0 * len(panels), 3.8))


def _draw(
    canvas: Canvas,
    parameter: str,
    points: Points,
    panels: Sequence[Panel],
    ticks: Sequence[float],
    *,
    is_log: bool,
) -> None:
    systems = list(dict.fromkeys(system for system, _ in points))
    plots = canvas.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(plots, panels, strict=True):
        axes.set_title(panel.title)
        axes.set_xlabel(f"{parameter} (logarithmic)" if is_log else parameter)
        ends = {}
        for system in systems:
            line = [(x, points[system, x].spread(panel.metric)) for s, x in points if s == system]
            xs = [x for x, _ in line]
            middle, low, high = (
                [panel.factor * getattr(spread, part) for _, spread in line]
                for part in ("median", "low", "high")
            )
            band(axes, system, xs, middle, low, high)
            ends[system] = (xs[-1], middle[-1])
        if is_log:
            axes.set_xscale("log", base=2)
        if ticks:
            axes.set_xticks(list(ticks), [format(tick, "g") for tick in ticks])
            axes.minorticks_off()
        if panel.from_zero:
            axes.set_ylim(bottom=0.0)
        label_ends(axes, ends)


def documents(points: Points) -> list[dict[str, Any]]:
    """Return the points as JSON values."""
    return [
        {"system": system, "value": value} | runs.summary()
        for (system, value), runs in points.items()
    ]
