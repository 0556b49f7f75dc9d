"""The HTML report: one file that needs nothing else. Pure."""

from __future__ import annotations

import html
import string
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from diffserve.bench.plots import distribution, latencies, over_time
from diffserve.bench.replies import Reply
from diffserve.bench.summary import LAG_S_MAX, bins_of

STAGE_NAMES = {
    "light_queue": "waiting, light",
    "light_execution": "drawing, light",
    "scoring": "scoring",
    "heavy_queue": "waiting, heavy",
    "heavy_execution": "drawing, heavy",
}


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share in per cent; n/a where it is not known."""
    return "n/a" if value is None else f"{100 * value:.{digits}f} %"


def seconds(value: float | None) -> str:
    """Return a duration in a fitting unit; n/a where there is none."""
    if value is None:
        return "n/a"
    return f"{1000 * value:.3g} ms" if value < 1.0 else f"{value:.2f} s"


def page_of(document: Mapping[str, Any], replies: Sequence[Reply]) -> str:
    """Return the report of a run as HTML.

    Args:
        document: What ``--json`` prints.
        replies: Of the measurement.
    """
    slo_s, duration_s = document["slo_s"], document["duration_s"]
    template = string.Template(
        resources.files("diffserve.bench").joinpath("page.html").read_text(encoding="utf-8")
    )
    knows_stages = document["stage_s_mean"] is not None
    return template.substitute(
        target=html.escape(document["target"]),
        setting=html.escape(_setting(document)),
        command=html.escape(document["command"]),
        made=html.escape(document["made"]),
        tiles=_tiles(document),
        warning=_warning(document),
        over_time=over_time(bins_of(replies, slo_s, duration_s)),
        latencies=latencies(replies, slo_s, duration_s),
        dots_legend=_legend(
            [("light", "light"), ("heavy", "heavy"), ("fallback", "light, as fallback")]
            if knows_stages
            else [("answered", "answered")],
            [("refused", "refused"), ("lost", "expired or failed")],
        ),
        distribution=distribution(replies, slo_s),
        figures=_figures(document),
        stages=_stages(document["stage_s_mean"]) if knows_stages else "",
        errors=_errors(document["errors"]),
    )


def _setting(document: Mapping[str, Any]) -> str:
    return (
        f"{document['trace']} load, {document['offered_qps']:.3g} queries per second on average "
        f"for {document['duration_s']:g} s after {document['warm_up_s']:g} s of warm-up, "
        f"SLO {document['slo_s']:g} s, seed {document['seed']}"
    )


def _tiles(document: Mapping[str, Any]) -> str:
    heavy = document["heavy_share"]
    tiles = [
        ("SLO attainment", percent(document["slo_attainment"]), "answered in time, of all sent"),
        ("goodput", f"{document['goodput_qps']:.3g} /s", "answers in time per second"),
        ("latency p50", seconds(document["latency_s_p50"]), "of answered queries"),
        ("latency p99", seconds(document["latency_s_p99"]), "of answered queries"),
        ("first image p50", seconds(document["first_image_s_p50"]), "the light image, server side"),
        ("heavy share", percent(heavy), "of answers" if heavy is not None else "not told"),
    ]
    return "".join(
        f'<div class="tile"><span>{name}</span><strong>{value}</strong><small>{note}</small></div>'
        for name, value, note in tiles
    )


def _warning(document: Mapping[str, Any]) -> str:
    lag_s = document["client_lag_s_p99"]
    if lag_s <= LAG_S_MAX:
        return ""
    return (
        f'<p class="warning">The client itself was late: p99 of the lag is {seconds(lag_s)}, more '
        f"than {seconds(LAG_S_MAX)}. Latencies count from when a query was due, so part of them "
        "is the client's. Measure again with a lower rate or on an idle machine.</p>"
    )


def _legend(*groups: Sequence[tuple[str, str]]) -> str:
    return "".join(
        f'<span><i class="{kind}"></i>{name}</span>' for group in groups for kind, name in group
    )


def _figures(document: Mapping[str, Any]) -> str:
    rows = [
        ("queries sent", f"{document['queries']}"),
        ("answered", f"{document['answered']}"),
        ("of these, after the SLO", f"{document['late']}"),
        ("refused", f"{document['refused']}"),
        ("expired", f"{document['expired']}"),
        ("failed", f"{document['failed']}"),
        ("throughput", f"{document['throughput_qps']:.3g} /s"),
        ("latency p90", seconds(document["latency_s_p90"])),
        ("latency p95", seconds(document["latency_s_p95"])),
        ("latency max", seconds(document["latency_s_max"])),
        ("first image p99", seconds(document["first_image_s_p99"])),
        ("light, as fallback", percent(document["light_fallback_share"])),
        ("client lag p50", seconds(document["client_lag_s_p50"])),
        ("client lag p99", seconds(document["client_lag_s_p99"])),
    ]
    rows += [(f"by {name}", str(count)) for name, count in document["variants"].items()]
    return "".join(f"<div><dt>{html.escape(k)}</dt><dd>{v}</dd></div>" for k, v in rows)


def _stages(stage_s: Mapping[str, float]) -> str:
    """Return where the time of an answer goes, as one bar."""
    total_s = sum(stage_s.values()) or 1.0
    bar = "".join(
        f'<b class="{name}" style="width:{100 * value / total_s:.2f}%" '
        f'title="{STAGE_NAMES[name]}: {seconds(value)}"></b>'
        for name, value in stage_s.items()
    )
    legend = "".join(
        f'<span><i class="{name}"></i>{STAGE_NAMES[name]} {seconds(value)}</span>'
        for name, value in stage_s.items()
    )
    return (
        "<section><h2>Where the time goes</h2><p>Mean over the answers, by the server's "
        f'clock.</p><div class="bar">{bar}</div><p class="legend">{legend}</p></section>'
    )


def _errors(errors: Mapping[str, int]) -> str:
    if not errors:
        return ""
    rows = "".join(
        f"<tr><th>{count} times</th><td class='text'>{html.escape(text)}</td></tr>"
        for text, count in errors.items()
    )
    return f"<section><h2>What was said instead of an image</h2><table>{rows}</table></section>"
