"""From runs to the page: tables, plots, and what must be said beside them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.common.rounds import Spread, ratios
from benchmarks.overhead.report import machine
from benchmarks.peers.cascade import (
    CAUTIOUS,
    MEAN,
    NUM_WORKERS,
    ORACLE,
    PEAK_QPS,
    ROOM,
    VIOLATIONS_MAX,
    CascadeParameters,
    Comparison,
    Run,
)
from benchmarks.peers.environments import PEERS, installed_bytes
from benchmarks.peers.hops import CONCURRENCY, IDEAL_QPS, OURS, RAW, HopRounds
from benchmarks.peers.serial import Overload
from benchmarks.peers.steadiness import (
    EXECUTION_S,
    LATE_AFTER_S,
    NUM_IN_FLIGHT,
    NUM_PROBES,
    PROBE_EXECUTION_S,
    Stopping,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {"DiffServe": "#0072B2", "Ray Serve": "#D55E00", "BentoML": "#E69F00"}
STYLES = {CAUTIOUS: ":"}
MARKERS = {ORACLE: "s", CAUTIOUS: "D", MEAN: "^"}


def grouped(runs: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    """Return the runs of each system and planning, in the order of the first ones."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.system, run.planning), []).append(run)
    return groups


def median_of(runs: Sequence[Run], name: str) -> float:
    """Return the median of a figure over rounds."""
    return statistics.median(float(run.metrics[name]) for run in runs)


def wins(runs: Sequence[Run]) -> bool | None:
    """Return whether DiffServe has fewer violations and better quality than every other run.

    None without DiffServe or without a peer. Medians over rounds are compared.
    """
    groups = grouped(runs)
    ours = [found for (system, _), found in groups.items() if system == OURS]
    others = [found for (system, _), found in groups.items() if system != OURS]
    if not ours or not others:
        return None
    sign = -1.0 if ours[0][0].metrics["is_lower_better"] else 1.0
    return all(
        median_of(ours[0], "violation_ratio") < median_of(other, "violation_ratio")
        and sign * median_of(ours[0], "quality_windowed")
        > sign * median_of(other, "quality_windowed")
        for other in others
    )


def cascade_section(comparison: Comparison, parameters: CascadeParameters) -> list[str]:
    """Return E7 in Markdown."""
    lines = [
        "## E7: the cascade under bursts",
        "",
        f"SD-Turbo then SD v1.5 as mocks that sleep by the authors' A100 profile, {NUM_WORKERS} "
        f"worker processes, SLO 5 s, all seconds divided by {parameters.time_compression:g}. "
        f"Poisson arrivals for {parameters.duration_s:g} s of the trace, whose rate jumps between "
        f"1x, 2x, 3x and 4x; at 4x {PEAK_QPS:g} queries per second, the paper's load per worker. "
        f"{parameters.rounds} round(s), medians. Violations are all queries without an answer in "
        "time, refused ones included. FID by the authors' table at the heavy share of each 5 s "
        "window: a model of quality, as nothing is drawn; lower is better.",
        "",
        "| system | plan | violations, % | refused, % | goodput, per s | heavy, % | FID, windowed "
        "| p99, s | client lag p99, ms |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (system, planning), runs in grouped(comparison.runs).items():
        figures = {
            name: median_of(runs, name)
            for name in (
                *("violation_ratio", "refused_ratio", "goodput_qps", "heavy_share"),
                *("quality_windowed", "latency_s_p99", "lag_s_p99"),
            )
        }
        lines.append(
            f"| {system} | {planning} | {100 * figures['violation_ratio']:.2f} "
            f"| {100 * figures['refused_ratio']:.2f} | {figures['goodput_qps']:.2f} "
            f"| {100 * figures['heavy_share']:.1f} | {figures['quality_windowed']:.2f} "
            f"| {parameters.time_compression * figures['latency_s_p99']:.2f} "
            f"| {1000 * figures['lag_s_p99']:.1f} |"
        )
    verdict = {
        True: "DiffServe has fewer violations and a better FID than every row below it.",
        False: "**DiffServe does not beat every row in both figures.**",
        None: "There is nothing to compare with.",
    }[wins(comparison.runs)]
    lines += ["", verdict, "", "Goodput and p99 are in seconds of the trace. The static plans:", ""]
    for seed, plans in comparison.plans.items():
        lines += [f"* round {seed}, {name}: {plan.text()}" for name, plan in plans.items()]
    front = "; ".join(
        f"{100 * trial.violation_ratio:.1f} %: {trial.quality:.2f}"
        for trial in next(iter(comparison.fronts.values()))
    )
    lines += [
        "",
        "The oracle knows the arrivals and every confidence beforehand. It tries all divisions of "
        "the workers, batch sizes and deferred shares in steps of 2.5 % in a model of a peer "
        "without any overhead, one queue per stage, and takes the best FID with at most "
        f"{100 * VIOLATIONS_MAX:g} % violations. Nobody has such a plan in service. The cautious "
        f"one takes executions for {ROOM:g} times as long, for the overhead that the model leaves "
        "out, and accepts no violation. What no static "
        f"plan beats in that model, violations and FID: {front} (first round).",
        "",
        "How to read it: the oracle's plan fits the trace so tightly that a peer's own overhead "
        "makes queries late; the cautious one pays for its room with quality. One that draws "
        "everything light should have no violations either. What re-planning gains is best seen "
        "against the model's plans above, which have no overhead and no adapter of ours.",
        "",
        "![violations and FID of all systems](peers--cascade.svg)",
        "",
        "![over time](peers--over-time.svg)",
        "",
    ]
    return lines


def hops_section(found: HopRounds) -> list[str]:
    """Return E1 in Markdown."""
    raw_p50 = [sample.quantile_s(0.5) for sample in found.alone[RAW]]
    raw_p99 = [sample.quantile_s(0.99) for sample in found.alone[RAW]]
    raw_qps = [sample.rate_qps for sample in found.loaded[RAW]]
    lines = [
        "## E1: the cost of a hop",
        "",
        "A model that does nothing. Ratios to one hop of raw grpc.aio in the same round, medians "
        "(quartiles). DiffServe's way is client, load balancer, worker: every image "
        "is encoded, scored, ranked and decided upon. The peers' is client, server, worker, "
        "without any of that, by HTTP with one client (aiohttp), which DiffServe's HTTP door is "
        "called with too. DiffServe's Python client keeps a stream open; the baseline begins a "
        "call for every query, and so does DiffServe's second row. Peers that batch wait 1 ms for "
        "company, which a lone caller pays. Tuned: Ray Serve by RAY_SERVE_THROUGHPUT_OPTIMIZED, "
        "its proxy kept; LitServe by fast_queue.",
        "",
        f"| system | p50, 1 caller | p99, 1 caller | answers per s, {CONCURRENCY} callers "
        "| p50, ms | answers per s |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, alone in found.alone.items():
        p50, p99 = ([sample.quantile_s(q) for sample in alone] for q in (0.5, 0.99))
        qps = [sample.rate_qps for sample in found.loaded[name]]
        lines.append(
            f"| {name} | {ratios(p50, raw_p50).text()} | {ratios(p99, raw_p99).text()} "
            f"| {ratios(qps, raw_qps).text()} | {1000 * statistics.median(p50):.2f} "
            f"| {statistics.median(qps):.0f} |"
        )
    return [*lines, ""]


def batching_section(found: HopRounds) -> list[str]:
    """Return E2 in Markdown."""
    lines = [
        "## E2: batching",
        "",
        f"A model that takes 100 ms for up to 4 queries: {IDEAL_QPS:g} per second if it never "
        "idles. Peers that wait for company wait 10 ms. KServe's Python server does not batch. A "
        "round counts for 2 s, in which a batch more or less is 5 %; [overhead](overhead.md) "
        "measures DiffServe's share over longer times.",
        "",
        f"| system | share of the ideal rate, {CONCURRENCY} callers | a lone query beyond its "
        "100 ms, p50, ms |",
        "|---|---:|---:|",
    ]
    for name, alone in found.alone.items():
        if name == RAW:
            continue
        share = Spread.of([sample.rate_qps / IDEAL_QPS for sample in found.loaded[name]])
        beyond_ms = [1000 * (sample.quantile_s(0.5) - 0.1) for sample in alone]
        lines.append(f"| {name} | {share.text()} | {Spread.of(beyond_ms).text()} |")
    return [*lines, ""]


def footprint_section(found: HopRounds) -> list[str]:
    """Return E8 in Markdown."""
    installed = {peer.title: f"{installed_bytes(peer) / 1e6:.0f}" for peer in PEERS.values()}
    return [
        "## E8: footprint",
        "",
        "With one worker, before the load of E1. Memory is the sum over processes, so that shared "
        "pages count several times; DiffServe's are Redis, controller, load balancer, worker and "
        "discriminator, which must have a plan before they answer. It is installed with the "
        "libraries of real models, which the peers are not.",
        "",
        "| system | installed, MB | resident, MB | first answer after, s |",
        "|---|---:|---:|---:|",
        *(
            f"| {name} | {installed.get(name, '-')} | {num_bytes / 1e6:.0f} | {ready_s:.1f} |"
            for name, (ready_s, num_bytes) in found.footprints.items()
            if not name.endswith(", tuned")
        ),
        "",
    ]


def leaving_section(executions: Mapping[str, int]) -> list[str]:
    """Return E3 in Markdown."""
    return [
        "## E3: clients that leave",
        "",
        "Eight clients ask a worker that takes 1 s per query, and leave after 0.3 s. How many "
        "queries are executed all the same (the first one is running when they leave):",
        "",
        "| system | executed, of 8 |",
        "|---|---:|",
        *(f"| {name} | {count} |" for name, count in executions.items()),
        "",
    ]


def overload_section(found: Mapping[str, Overload]) -> list[str]:
    """Return E4 in Markdown."""
    lines = [
        "## E4: too many at once",
        "",
        "A hundred queries at once, each with a deadline of 1 s, for a worker that takes 0.2 s for "
        "one: four or five can be answered in time. Tuned: the queue holds 8 where the peer has "
        "such a setting. All clients leave at the deadline.",
        "",
        "| system | in time | refused | unanswered ones know it after, p99, ms | executed "
        "| of these, begun after the deadline |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {name} | {o.in_time} | {o.refused} | {1000 * o.told_s_p99:.0f} | {o.executed} "
        f"| {o.executed_late} |"
        for name, o in found.items()
    ]
    return [*lines, ""]


def stopping_section(stops: Mapping[str, Stopping], kills: Mapping[str, Stopping]) -> list[str]:
    """Return E5 in Markdown."""
    lines = [
        "## E5: told to stop, or killed",
        "",
        f"{NUM_IN_FLIGHT} queries are accepted, one runs ({EXECUTION_S:g} s each) and the others "
        "wait. Then the server gets SIGTERM, or its worker process SIGKILL; one more query is sent "
        f"{LATE_AFTER_S:g} s later.",
        "",
        "| system | SIGTERM: answered | lost | the later one | told after, ms "
        "| worker killed: answered | lost | the later one |",
        "|---|---:|---:|---|---:|---:|---:|---|",
    ]
    for name, stop in stops.items():
        kill = kills.get(name)
        killed = f"{kill.answered} | {kill.lost} | {_fate(kill)}" if kill else "- | - | -"
        lines.append(
            f"| {name} | {stop.answered} | {stop.lost} | {_fate(stop)} "
            f"| {1000 * stop.late_told_s:.0f} | {killed} |"
        )
    return [*lines, ""]


def _fate(found: Stopping) -> str:
    return "answered" if found.late.is_answered else found.late.value


def health_section(probes_s: Mapping[str, float]) -> list[str]:
    """Return E6 in Markdown."""
    return [
        "## E6: health while a batch runs",
        "",
        f"The door's health is asked {NUM_PROBES} times during a batch of "
        f"{PROBE_EXECUTION_S:g} s. The slowest answer:",
        "",
        "| system | ms |",
        "|---|---:|",
        *(f"| {name} | {1000 * seconds:.0f} |" for name, seconds in probes_s.items()),
        "",
    ]


def steadiness_document(
    stops: Mapping[str, Stopping],
    kills: Mapping[str, Stopping],
    probes_s: Mapping[str, float],
) -> dict[str, Any]:
    """Return the figures of E5 and E6 for programs."""
    document: dict[str, Any] = {}
    if stops:
        document["E5"] = {
            what: {name: asdict(stopping) for name, stopping in found.items()}
            for what, found in (("SIGTERM", stops), ("worker killed", kills))
        }
    if probes_s:
        document["E6"] = dict(probes_s)
    return document


def footed(section: Sequence[str], skipped: Mapping[str, str], command: str) -> list[str]:
    """Return a section with how it was made, and without whom."""
    left_out = [f"Left out: {name}: {why}." for name, why in skipped.items()]
    return [*section, f"*{machine()}. Made by `{command}`.*", "", *left_out, ""]


def page_of(sections: Sequence[Sequence[str]], before: str = "") -> str:
    """Return the page.

    Args:
        sections: Each begins with its heading, ``## E1: ...``.
        before: The page as it was; experiments that were not made anew keep their sections.
    """
    old = ["## " + part.strip("\n") for part in before.split("\n## ")[1:]]
    texts = {text.split(":")[0]: text for text in old}
    texts |= {section[0].split(":")[0]: "\n".join(section).strip("\n") for section in sections}
    # The headline first.
    names = sorted(texts, key=lambda name: (not name.endswith("E7"), name))
    return "\n".join([*_head(), *(texts[name] + "\n" for name in names)])


def _head() -> list[str]:
    releases = ", ".join(peer.requirement for peer in PEERS.values())
    return [
        "# DiffServe beside general servers",
        "",
        f"{releases}, each from its package in an environment of its own. "
        "`python -m benchmarks.peers` makes everything anew.",
        "",
        "To be read with it:",
        "",
        "* Models are mocks that sleep: no GPU, no contention for one, no images worth looking at. "
        "What is compared is queues, batches, refusals and plans.",
        "* One machine carries servers, workers and client: absolute times are context, and single "
        "runs are noisy. Ray, KServe and BentoML are built for clusters, which this machine hides.",
        "* The peers have no cascade; theirs are adapters in `benchmarks/peers/adapters`, at most "
        "60 lines each, written by us from their documentation. Somebody who knows one better may "
        "get more from it. What is tuned is told; all else is as it comes.",
        "* Peers are called by HTTP with one client, DiffServe by gRPC; open-loop sending and "
        "counting are the same code. Ray's clients leave at the deadline, as it drops their work.",
        "* Tuned in the peers' favour in E7, after looking for what cost them most. Ray: batches "
        "wait half an execution for company (it forms them by the clock even while the replica is "
        "busy; with 5 ms it had 14 % violations where it has 1.5 % now, in a short trial), a lone "
        "replica queues all, and routing retries after 5 to 10 ms. BentoML 1.4.39 closes its "
        "sessions between services after every 100 calls, and calls under way fail; the adapter "
        "switches that off. Its worker processes are chosen by connection, not by load; that is "
        "left as it is. Before any of this a first run had Ray at 43.9 % violations and BentoML at "
        "19.2 %.",
        "* Everything runs in a network namespace of its own with loopback only, as some of Ray's "
        "processes listen on all interfaces, whatever they are told.",
        "",
    ]


def document_of(
    comparison: Comparison | None,
    hops: Mapping[str, HopRounds],
    leaving: Mapping[str, int],
    overloads: Mapping[str, Overload],
) -> dict[str, Any]:
    """Return the figures for programs."""
    document: dict[str, Any] = {}
    if comparison:
        document["E7"] = {
            "runs": [asdict(run) for run in comparison.runs],
            "plans": {
                seed: {name: plan.document() for name, plan in plans.items()}
                for seed, plans in comparison.plans.items()
            },
            "static_front": {
                seed: [asdict(trial) for trial in front]
                for seed, front in comparison.fronts.items()
            },
        }
    for name, found in hops.items():
        document[name] = {
            system: {
                "p50_s": [sample.quantile_s(0.5) for sample in found.alone[system]],
                "p99_s": [sample.quantile_s(0.99) for sample in found.alone[system]],
                "rate_qps": [sample.rate_qps for sample in found.loaded[system]],
            }
            for system in found.alone
        }
    if leaving:
        document["E3"] = dict(leaving)
    if overloads:
        document["E4"] = {name: asdict(found) for name, found in overloads.items()}
    return document


def draw(comparison: Comparison, parameters: CascadeParameters, directory: Path) -> None:
    """Write the plots of E7."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    from diffserve.experiments.drawing import STYLE

    with rc_context(dict(STYLE)):
        scatter = Canvas(figsize=(9.0, 4.0), layout="constrained")
        _draw_scatter(scatter, comparison)
        scatter.savefig(directory / "peers--cascade.svg", metadata={"Date": None})
        over_time = Canvas(figsize=(8.0, 6.0), layout="constrained")
        _draw_over_time(over_time, comparison, parameters.time_compression)
        over_time.savefig(directory / "peers--over-time.svg", metadata={"Date": None})


def _draw_scatter(canvas: Figure, comparison: Comparison) -> None:
    axes = canvas.subplots()
    front = next(iter(comparison.fronts.values()))
    axes.plot(
        [100 * trial.violation_ratio for trial in front],
        [trial.quality for trial in front],
        color="#999999",
        marker=".",
        label="best static plans, model without overhead",
    )
    for (system, planning), runs in grouped(comparison.runs).items():
        axes.plot(
            [100 * run.metrics["violation_ratio"] for run in runs],
            [run.metrics["quality_windowed"] for run in runs],
            color=COLORS[system],
            marker=MARKERS.get(planning, "o"),
            linestyle="none",
            label=f"{system}: {planning}",
        )
    axes.set_xscale("symlog", linthresh=1.0)
    axes.set_xlim(left=-0.1)
    axes.set_xlabel("violations, % of all queries (lower is better)")
    axes.set_ylabel("FID by the authors' table (lower is better)")
    canvas.legend(loc="outside right center")


def _draw_over_time(canvas: Figure, comparison: Comparison, factor: float) -> None:
    panels = canvas.subplots(3, 1, sharex=True)
    first = comparison.runs[0]
    shown = [run for run in comparison.runs if run.seed == first.seed and run.planning != MEAN]
    names = ("arrivals", "heavy_share", "violations")
    titles = (
        "arrivals in 5 s",
        "heavy share of answers in time",
        "violations in 5 s, not refusals",
    )
    for axes, name, title in zip(panels, names, titles, strict=True):
        axes.set_title(title)
        for run in shown[:1] if name == "arrivals" else shown:
            windows = run.metrics["windows"]
            times = [factor * start_s for start_s in windows["start_s"]]
            axes.plot(
                times,
                windows[name],
                color=COLORS[run.system],
                linestyle=STYLES.get(run.planning, "-"),
                label=f"{run.system}: {run.planning}",
            )
    handles, labels = panels[1].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside lower center", ncols=3)
    panels[-1].set_xlabel("seconds of the trace")
