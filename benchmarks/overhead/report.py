"""What the rounds came to, against the targets: a table for people, a document for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from benchmarks.common.rounds import Spread, ratios
from benchmarks.overhead.measuring import BATCH_IDEAL_QPS, CONCURRENCY, BatchRound, CostRound

P50_RATIO_MAX = 3.0
RATE_RATIO_MIN = 0.5
BATCHING_MIN = 0.97
WAIT_S_MAX = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure and what it should be.

    Attributes:
        what: In words.
        value: Over the rounds.
        target: What is asked for; None where nothing is.
        is_max: Whether the target must not be exceeded, rather than reached.
    """

    what: str
    value: Spread
    target: float | None = None
    is_max: bool = True

    @property
    def is_met(self) -> bool | None:
        """Whether the median is on the right side; None without a target."""
        if self.target is None:
            return None
        return self.value.median <= self.target if self.is_max else self.value.median >= self.target

    @property
    def target_text(self) -> str:
        """Return the target in words."""
        if self.target is None:
            return ""
        return f"{'at most' if self.is_max else 'at least'} {self.target:g}"


def rows_of(costs: Sequence[CostRound], batches: Sequence[BatchRound]) -> list[Row]:
    """Return the figures of all rounds."""

    def alone(name: str, share: float) -> list[float]:
        return [r.alone[name].quantile_s(share) for r in costs]

    def loaded(name: str) -> list[float]:
        return [r.loaded[name].rate_qps for r in costs]

    raw_p50, raw_p99, raw_qps = alone("raw", 0.5), alone("raw", 0.99), loaded("raw")
    many = f"{CONCURRENCY} callers"
    return [
        Row(
            what="p50, one caller, over one raw grpc.aio hop",
            value=ratios(alone("diffserve", 0.5), raw_p50),
            target=P50_RATIO_MAX,
        ),
        Row(
            what=f"answers per second, {many}, over raw grpc.aio",
            value=ratios(loaded("diffserve"), raw_qps),
            target=RATE_RATIO_MIN,
            is_max=False,
        ),
        Row(
            what="batches of 4 in 100 ms: answers over the ideal 40 per second",
            value=Spread.of([r.rate_qps / BATCH_IDEAL_QPS for r in batches]),
            target=BATCHING_MIN,
            is_max=False,
        ),
        Row(
            what="a lone query's wait for a batch, p99, ms",
            value=Spread.of([1000.0 * _quantile(r.waits_s, 0.99) for r in batches]),
            target=1000.0 * WAIT_S_MAX,
        ),
        Row(
            what="a lone query's latency beyond its 100 ms, p50, ms",
            value=Spread.of([1000.0 * _quantile(r.added_s, 0.5) for r in batches]),
        ),
        Row(
            what="p99, one caller, over raw",
            value=ratios(alone("diffserve", 0.99), raw_p99),
        ),
        *(
            row
            for name, text in (("call", "a gRPC call each"), ("stream", "raw, on an open stream"))
            for row in (
                Row(
                    what=f"{text}: p50, one caller, over raw",
                    value=ratios(alone(name, 0.5), raw_p50),
                ),
                Row(
                    what=f"{text}: answers per second, {many}, over raw",
                    value=ratios(loaded(name), raw_qps),
                ),
            )
        ),
        *_absolute(costs),
    ]


def _absolute(costs: Sequence[CostRound]) -> list[Row]:
    names = {"raw": "raw grpc.aio", "diffserve": "DiffServe", "call": "DiffServe, a gRPC call each"}
    rows = []
    for name, text in names.items():
        p50_ms = [1000.0 * r.alone[name].quantile_s(0.5) for r in costs]
        rows.append(Row(what=f"{text}: p50, one caller, ms", value=Spread.of(p50_ms)))
        rates = [r.loaded[name].rate_qps for r in costs]
        text = f"{text}: answers per second, {CONCURRENCY} callers"
        rows.append(Row(what=text, value=Spread.of(rates)))
    return rows


def _quantile(ascending: Sequence[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]


def table_of(rows: Sequence[Row]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| figure | median of rounds (quartiles) | target | met |",
        "|---|---:|---:|---|",
    ]
    for row in rows:
        met = {True: "yes", False: "**no**", None: ""}[row.is_met]
        lines.append(f"| {row.what} | {row.value.text()} | {row.target_text} | {met} |")
    return "\n".join(lines) + "\n"


def machine() -> str:
    """Return on what it was measured, in one line."""
    load = os.getloadavg()[0]
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, grpcio {metadata.version('grpcio')}; "
        f"load average at the end {load:.1f}"
    )


def document_of(rows: Sequence[Row], rounds: int, seconds: float) -> dict[str, Any]:
    """Return the figures for programs."""
    return {
        "machine": machine(),
        "rounds": rounds,
        "seconds": seconds,
        "figures": [
            {
                "what": row.what,
                **asdict(row.value),
                "target": row.target,
                "is_max": row.is_max,
                "is_met": row.is_met,
            }
            for row in rows
        ],
    }
