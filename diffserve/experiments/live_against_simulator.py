"""The live services against their simulation: the same arrivals, the same figures?"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from diffserve.experiments.drawing import INK, look, smoothed
from diffserve.experiments.experiment import Context, Figure, Result, Table
from diffserve.experiments.loads import AUTHORS_TABLES, DURATION_S, NUM_WORKERS, Load, main_loads
from diffserve.experiments.spread import Runs
from diffserve.replay.twin import LiveRun, TwinParameters, run_live
from diffserve.sim.quality import WINDOW_S, QualityTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NAME = "live_against_simulator"
TITLE = "The live services against their simulation"

CATALOG = "paper-sdturbo"
FULL_TIME_COMPRESSION = 1.0
QUICK_TIME_COMPRESSION = 2.0
"""Chosen by measurement, on two cores that ran all services, the client and other work besides.

Up to 4 heavy share and quality differ by no more than two simulations do. But what the operating
system takes does not shrink: pauses of the order of the answer margin (50 ms, divided) make queries
late, up to 4 in a thousand at 2 when other programs keep both cores busy, and none at 1.
"""
QUICK_DURATION_S = 100.0
SIMULATED_SEEDS = 5
"""Simulations that show how far runs lie apart by chance alone."""
SMOOTHING = 3
LIVE_COLOR = "#D55E00"

Series = Callable[[Mapping[str, Any]], list[float | None]]
"""From the metrics of a run to a value per window."""

OURS = (
    "Ours: the deployment (controller, load balancer, discriminator, Redis and sixteen worker "
    "processes, started as by `diffserve up`) and the simulator. Workers are mocks that sleep by "
    "the latency table, and the mock discriminator draws confidences from the deferral profile."
)


@dataclass(frozen=True, slots=True)
class Pair:
    """One load, served both ways.

    Attributes:
        load: What arrived.
        live: The live half.
        simulated: The simulated half, first with the same seed, then with others.
    """

    load: Load
    live: LiveRun
    simulated: Runs

    @property
    def time_compression(self) -> float:
        """Seconds of the trace in a second of the deployment."""
        return self.live.simulation.time_compression

    def difference(self, name: str) -> float:
        """Return live minus simulated, same seed."""
        return float(self.live.metrics[name]) - float(self.simulated.first[name])

    @property
    def quality_error(self) -> float:
        """Difference of the windowed quality as a share of the simulated one."""
        return self.difference("quality_windowed") / float(self.simulated.first["quality_windowed"])


def run(context: Context) -> Result:
    """Serve the main traces live and simulated."""
    pairs = [_pair(context, load) for load in _loads(context)]
    return Result(
        name=NAME,
        title=TITLE,
        question="The simulator drives the very objects that serve live, but it idealises what is "
        "around them: the network, threads, timers, Redis, gRPC. How far is a live deployment from "
        "its simulation on the main trace?",
        answer=" ".join(_answer(pair) for pair in pairs),
        inputs=(*(pair.load.whose for pair in pairs), AUTHORS_TABLES, OURS),
        tables=[*(_table(pair) for pair in pairs), _overheads(pairs)],
        figures=[_figure(pair) for pair in pairs],
        data={pair.load.name: _document(pair) for pair in pairs},
        is_simulated=False,
    )


def _loads(context: Context) -> list[Load]:
    loads = main_loads(context)
    if not context.quick:
        return loads
    short = replace(loads[0].workload, duration_s=QUICK_DURATION_S)
    length = f"{QUICK_DURATION_S:g} s"
    return [
        replace(
            loads[0],
            workload=short,
            title=f"{loads[0].title}, {length}",
            whose=loads[0].whose.replace(f"{DURATION_S:g} s", length),
        )
    ]


def _pair(context: Context, load: Load) -> Pair:
    parameters = TwinParameters(
        catalog=CATALOG,
        workload=load.workload,
        num_workers=NUM_WORKERS,
        seed=0,
        time_compression=QUICK_TIME_COMPRESSION if context.quick else FULL_TIME_COMPRESSION,
    )
    directory = context.cache / "live" / f"{load.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    live = run_live(
        parameters,
        directory,
        report=lambda line: None,
        on_progress=lambda now_s, total_s: context.on_progress(round(now_s), round(total_s)),
    )
    seeds = range(SIMULATED_SEEDS)
    simulated = context.simulate([replace(live.simulation, seed=seed) for seed in seeds])
    return Pair(load, live, Runs(tuple(simulated)))


def _answer(pair: Pair) -> str:
    return (
        f"On {pair.load.title}, the live deployment has "
        f"{100 * abs(pair.difference('heavy_share')):.1f} points "
        f"{'more' if pair.difference('heavy_share') > 0 else 'less'} heavy answers than its "
        f"simulation, {100 * pair.difference('slo_violation_ratio'):+.2f} points of violations and "
        f"a windowed FID that differs by {100 * pair.quality_error:+.2f} %."
    )


def _table(pair: Pair) -> Table:
    factor = pair.time_compression
    rows = [
        _row(pair, "violations, %", "slo_violation_ratio", 100.0, ".2f"),
        _row(pair, "refused, %", "rejected_ratio", 100.0, ".2f"),
        _row(pair, "heavy share, %", "heavy_share", 100.0, ".1f"),
        _row(pair, "FID, windowed", "quality_windowed", 1.0, ".3f"),
        _row(pair, "FID, overall", "quality_overall", 1.0, ".3f"),
        _row(pair, "latency p50, s of the trace", "latency_s_p50", factor, ".2f"),
        _row(pair, "latency p99, s of the trace", "latency_s_p99", factor, ".2f"),
    ]
    return Table(
        pair.load.title[0].upper() + pair.load.title[1:],
        ("", "live", "simulated", "difference", f"simulated, {SIMULATED_SEEDS} seeds"),
        rows,
        f"{pair.live.metrics['queries']} queries; {_compression(factor)}. Simulated: the same "
        "arrivals and settings, and the overheads of the table below. The last column shows what "
        "chance alone does: other confidences and execution times, and other arrivals where these "
        "are drawn. Live latencies end at the client, whose own leg "
        "of about 3 ms the simulator leaves out.",
    )


def _compression(factor: float) -> str:
    return "nothing compressed" if factor == 1.0 else f"all seconds divided by {factor:g} in both"


def _row(pair: Pair, title: str, name: str, factor: float, form: str) -> tuple[str, ...]:
    return (
        title,
        format(factor * pair.live.metrics[name], form),
        format(factor * pair.simulated.first[name], form),
        format(factor * pair.difference(name), "+" + form),
        pair.simulated.spread(name).text(form, factor),
    )


def _overheads(pairs: Sequence[Pair]) -> Table:
    titles = {
        "network_s": "load balancer to worker, one way, ms",
        "scoring_s": "from the device to the score, ms",
        "execution_excess_s": "execution beyond the profile, ms",
        "plan_delay_s": "solving for a plan (CBC), ms",
    }
    columns = [asdict(pair.live.overheads) for pair in pairs]
    rows = [(title, *(f"{1000 * c[name]:.1f}" for c in columns)) for name, title in titles.items()]
    variation = "variation of execution times, %"
    rows.append((variation, *(f"{100 * c['execution_cv']:.2f}" for c in columns)))
    lags = [f"{1000 * pair.live.lag_s_p99:.1f}" for pair in pairs]
    rows.append(("client: queries sent late, p99, ms", *lags))
    return Table(
        "Overheads of the deployment",
        ("", *(pair.load.title for pair in pairs)),
        rows,
        "Medians over single queries to the idle deployment, after the replay; not compressed. "
        "Network, scoring, solving and variation are given to the simulator in place of its "
        "defaults; nothing is fitted to the replay.",
    )


def _figure(pair: Pair) -> Figure:
    return Figure(
        f"time-{pair.load.name}",
        f"Over time: {pair.load.title}",
        functools.partial(_draw, pair=pair),
        f"Windows of {WINDOW_S:g} s of arrival, averaged over {SMOOTHING}; the shade is the range "
        f"of {SIMULATED_SEEDS} simulations. Time is the trace's, before compression. FID by the "
        "authors' table at the window's heavy share; its axis does not start at zero.",
        size=(8.5, 7.0),
    )


def _draw(canvas: Canvas, pair: Pair) -> None:
    panels: list[Axes] = list(canvas.subplots(4, 1, sharex=True))
    live = pair.live.metrics
    rates = [count / WINDOW_S for count in live["windows"]["arrivals"]]
    panels[0].plot(_times(live), rates, color="#555555", linewidth=1.0)
    panels[0].set_title("arrivals, queries per second")
    curve = pair.live.simulation.catalog.quality[pair.live.simulation.cascade.cascade_id]
    series: tuple[tuple[str, Series], ...] = (
        ("heavy share of answers in time, %", _shares),
        ("FID by the authors' table", functools.partial(_qualities, table=QualityTable(curve))),
        ("violations, queries per window", _violations),
    )
    for axes, (title, values_of) in zip(panels[1:], series, strict=True):
        axes.set_title(title)
        ranges = list(
            zip(*(smoothed(values_of(m), SMOOTHING) for m in pair.simulated.metrics), strict=False)
        )
        color = look("diffserve").color
        xs = _times(pair.simulated.first)[: len(ranges)]
        low, high = [min(values) for values in ranges], [max(values) for values in ranges]
        axes.fill_between(xs, low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(
            _times(pair.simulated.first),
            smoothed(values_of(pair.simulated.first), SMOOTHING),
            color=color,
            label="simulated, same arrivals",
        )
        axes.plot(
            _times(live), smoothed(values_of(live), SMOOTHING), color=LIVE_COLOR, label="live"
        )
    panels[0].set_ylim(bottom=0.0)
    panels[3].set_ylim(bottom=0.0, top=max(1.0, panels[3].get_ylim()[1]))
    panels[1].legend(loc="lower left", labelcolor=INK)
    panels[-1].set_xlabel("time, s")


def _times(metrics: Mapping[str, Any]) -> list[float]:
    return [index * WINDOW_S for index in range(len(metrics["windows"]["start_s"]))]


def _shares(metrics: Mapping[str, Any]) -> list[float | None]:
    shares = metrics["windows"]["heavy_share"]
    return [None if share is None else 100.0 * share for share in shares]


def _qualities(metrics: Mapping[str, Any], table: QualityTable) -> list[float | None]:
    shares = metrics["windows"]["heavy_share"]
    return [None if share is None else table.reported(share) for share in shares]


def _violations(metrics: Mapping[str, Any]) -> list[float | None]:
    return [float(count) for count in metrics["windows"]["violations"]]


def _document(pair: Pair) -> dict[str, Any]:
    return {
        "time_compression": pair.time_compression,
        "workers": pair.live.simulation.num_workers,
        "live": pair.live.metrics,
        "simulated": pair.simulated.summary(),
        "simulated_same_seed": pair.simulated.first,
        "overheads": asdict(pair.live.overheads),
        "client_lag_s_p99": pair.live.lag_s_p99,
    }
