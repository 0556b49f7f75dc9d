"""Systems side by side: the table, the time series and the scatter that several pages share."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from diffserve.experiments.drawing import label_ends, label_points, look, smoothed
from diffserve.experiments.experiment import Figure, Table
from diffserve.experiments.loads import catalog
from diffserve.experiments.spread import Runs
from diffserve.sim.quality import WINDOW_S, QualityTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

SMOOTHING = 5
"""Windows over which time series are averaged, as in the paper's own plots."""
COLUMNS = (
    "violations, %",
    "refused, %",
    "heavy share, %",
    "FID, windowed",
    "FID, overall",
    "devices busy, %",
    "swaps",
    "p50, s",
    "p99, s",
)
NOTE = (
    "Violations: accepted and not answered by the deadline; refused: told so at the door. FID by "
    "the authors' table over the answers in time; lower is better. Swaps: workers that a plan gave "
    "another variant. p50, p99: latency of answers."
)


def cells(runs: Runs) -> tuple[str, ...]:
    """Return a row of ``COLUMNS``."""
    return (
        runs.spread("slo_violation_ratio").percent(),
        runs.spread("rejected_ratio").percent(),
        runs.spread("heavy_share").middle(".1f", 100.0),
        runs.spread("quality_windowed").text(".2f"),
        runs.spread("quality_overall").middle(".2f"),
        runs.spread("device_busy").middle(".0f", 100.0),
        runs.spread("swaps").middle(".0f"),
        runs.spread("latency_s_p50").middle(".2f"),
        runs.spread("latency_s_p99").middle(".2f"),
    )


def comparison_table(title: str, systems: Mapping[str, Runs], first: str = "system") -> Table:
    """Return a table of systems, with the bound below them."""
    rows = [(name, *cells(runs)) for name, runs in systems.items()]
    runs = next(iter(systems.values()))
    bound = ("-",) * 3 + (runs.spread("bound_quality_windowed").middle(".2f"), "-")
    busy = runs.spread("bound_device_busy").middle(".0f", 100.0)
    rows.append(("*clairvoyant fluid bound*", *bound, busy, "-", "-", "-"))
    return Table(title, (first, *COLUMNS), rows, NOTE)


def quality_series(metrics: Mapping[str, Any]) -> list[float | None]:
    """Return the table's value in every window of a run; None where nothing was answered."""
    curve = catalog(metrics["cascade"]).quality[metrics["cascade"]]
    table = QualityTable(curve, metrics["is_query_aware"])
    shares = metrics["windows"]["heavy_share"]
    return [None if share is None else table.reported(share) for share in shares]


def violation_series(metrics: Mapping[str, Any]) -> list[float | None]:
    """Return violations in per cent of the arrivals of every window."""
    windows = metrics["windows"]
    pairs = zip(windows["violations"], windows["arrivals"], strict=True)
    return [100.0 * late / count if count else None for late, count in pairs]


def time_series(
    name: str,
    title: str,
    systems: Mapping[str, Runs],
    *,
    shaded: tuple[float, float] | None = None,
    smoothing: int = SMOOTHING,
) -> Figure:
    """Return load, violations, heavy share and quality over time, for the first seed.

    Args:
        name: Of the file.
        title: Of the figure.
        systems: Lines; few enough to tell apart.
        shaded: A stretch of time to mark, seconds.
        smoothing: Windows over which each point is averaged.
    """
    draw = functools.partial(_draw_series, systems=systems, shaded=shaded, smoothing=smoothing)
    averaged = f", averaged over {smoothing}" if smoothing > 1 else ""
    caption = (
        f"One run of each system (first seed), windows of {WINDOW_S:g} s of arrival{averaged}. "
        "Violations and heavy share start at zero, FID does not. FID by the "
        "authors' table at the window's heavy share; lower is better."
    )
    if shaded:
        caption += " The shaded stretch is the disturbance."
    return Figure(name, title, draw, caption, size=(8.5, 7.5))


def _draw_series(
    canvas: Canvas,
    systems: Mapping[str, Runs],
    shaded: tuple[float, float] | None,
    smoothing: int,
) -> None:
    panels: list[Axes] = list(canvas.subplots(4, 1, sharex=True))
    first = next(iter(systems.values())).first["windows"]
    rates = [count / WINDOW_S for count in first["arrivals"]]
    panels[0].plot(first["start_s"], rates, color="#555555", linewidth=1.0)
    panels[0].set_title("arrivals, queries per second")
    lines = (
        ("violations, % of arrivals", violation_series),
        ("heavy share of answers in time, %", _share_series),
        ("FID by the authors' table", quality_series),
    )
    for axes, (title, series) in zip(panels[1:], lines, strict=True):
        axes.set_title(title)
        ends = {}
        for name, runs in systems.items():
            xs, ys = runs.first["windows"]["start_s"], smoothed(series(runs.first), smoothing)
            axes.plot(xs, ys, color=look(name).color, clip_on=False, zorder=3)
            ends[name] = (xs[-1], next((y for y in reversed(ys) if y == y), 0.0))
        if series is not quality_series:
            axes.set_ylim(bottom=0.0)
        label_ends(axes, ends, gap=0.14)
    panels[0].set_ylim(bottom=0.0)
    panels[-1].set_xlabel("time, s")
    for axes in panels if shaded else ():
        axes.axvspan(*(shaded or (0.0, 0.0)), color="#f0e442", alpha=0.25, linewidth=0)


def _share_series(metrics: Mapping[str, Any]) -> list[float | None]:
    shares = metrics["windows"]["heavy_share"]
    return [None if share is None else 100.0 * share for share in shares]


def scatter(name: str, title: str, systems: Mapping[str, Runs]) -> Figure:
    """Return quality against violations: every seed a point, every system named."""
    caption = (
        "Each point is one run. Violations start at zero, FID does not; the best corner is at the "
        "bottom left. The dotted line is the FID of the clairvoyant bound, which answers every "
        "query; FID counts answers in time alone, so that a system which drops many can lie below."
    )
    draw = functools.partial(_draw_scatter, systems=systems)
    return Figure(name, title, draw, caption, size=(7.5, 4.5))


def _draw_scatter(canvas: Canvas, systems: Mapping[str, Runs]) -> None:
    axes = canvas.subplots()
    places = {}
    for name, runs in systems.items():
        chosen = look(name)
        xs = [100.0 * metrics["slo_violation_ratio"] for metrics in runs.metrics]
        ys = [metrics["quality_windowed"] for metrics in runs.metrics]
        axes.scatter(xs, ys, s=28, color=chosen.color, marker=chosen.marker, linewidths=0)
        places[name] = (max(xs), sorted(ys)[len(ys) // 2])
    bound = next(iter(systems.values())).spread("bound_quality_windowed").median
    axes.axhline(bound, color="#999999", linestyle=":", linewidth=1.0)
    axes.set_xlim(left=-0.5, right=1.2 * max(5.0, axes.get_xlim()[1]))
    axes.set_xlabel("violations, % of queries")
    axes.set_ylabel("FID by the authors' table, windowed")
    label_points(axes, places)


def summaries(systems: Mapping[str, Runs]) -> dict[str, Any]:
    """Return the numbers of systems as JSON values."""
    return {name: runs.summary() for name, runs in systems.items()}


def bullets(sentences: Iterable[str]) -> str:
    """Return a Markdown list that may follow a paragraph."""
    return "\n" + "".join(f"\n* {sentence}" for sentence in sentences)
