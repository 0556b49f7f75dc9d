"""From replies to figures. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffserve.bench.doors import STAGES
from diffserve.bench.replies import Reply, Status
from diffserve.core import Outcome
from diffserve.replay.open_loop import lag_quantile_s

QUANTILES = (0.5, 0.9, 0.95, 0.99)
NUM_BINS_MAX = 60
LAG_S_MAX = 0.005
"""A p99 lag beyond this means that the client, not the server, was the bottleneck."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Queries that arrived in one stretch of time.

    Attributes:
        start_s: Its beginning.
        width_s: Its length.
        good: Answered within the SLO.
        late: Answered after it.
        refused: Refused.
        lost: Expired or failed.
    """

    start_s: float
    width_s: float
    good: int
    late: int
    refused: int
    lost: int


def quantile(ascending: Sequence[float], share: float) -> float:
    """Return the smallest value that ``share`` of the values do not exceed; NaN without any."""
    if not ascending:
        return math.nan
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)]


def summary(replies: Sequence[Reply], slo_s: float, duration_s: float) -> dict[str, Any]:
    """Return the figures of a run; what does not exist is None.

    Args:
        replies: Of the measurement, warm-up left out.
        slo_s: What counts as in time.
        duration_s: Length of the measurement.
    """
    count = len(replies)
    by_status = Counter(reply.status for reply in replies)
    answered = [reply for reply in replies if reply.status is Status.ANSWERED]
    num_good = sum(reply.is_good(slo_s) for reply in replies)
    latencies = sorted(reply.latency_s for reply in answered)
    firsts = sorted(
        reply.told.first_image_s for reply in answered if reply.told.first_image_s is not None
    )
    return {
        "queries": count,
        "duration_s": duration_s,
        "slo_s": slo_s,
        "offered_qps": count / duration_s,
        "answered": by_status[Status.ANSWERED],
        "late": by_status[Status.ANSWERED] - num_good,
        "refused": by_status[Status.REFUSED],
        "expired": by_status[Status.EXPIRED],
        "failed": by_status[Status.FAILED],
        "slo_attainment": num_good / count if count else None,
        "goodput_qps": num_good / duration_s,
        "throughput_qps": len(answered) / duration_s,
        **{
            f"latency_s_p{100 * share:g}": _known(quantile(latencies, share)) for share in QUANTILES
        },
        "latency_s_max": latencies[-1] if latencies else None,
        "latency_s_mean": statistics.fmean(latencies) if latencies else None,
        "first_image_s_p50": _known(quantile(firsts, 0.5)),
        "first_image_s_p99": _known(quantile(firsts, 0.99)),
        **_shares(answered),
        "variants": _variants(answered),
        "stage_s_mean": _stages(answered),
        "image_bytes_mean": statistics.fmean(r.num_bytes for r in answered) if answered else None,
        "client_lag_s_p50": lag_quantile_s([r.lag_s for r in replies], 0.5),
        "client_lag_s_p99": lag_quantile_s([r.lag_s for r in replies], 0.99),
        "errors": _errors(replies),
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _shares(answered: Sequence[Reply]) -> dict[str, float | None]:
    """Return which share of the answers each stage gave; None where servers do not tell."""
    outcomes = [reply.told.outcome for reply in answered if reply.told.outcome is not None]

    def share(outcome: Outcome) -> float | None:
        return outcomes.count(outcome) / len(outcomes) if outcomes else None

    return {
        "heavy_share": share(Outcome.HEAVY),
        "light_share": share(Outcome.LIGHT),
        "light_fallback_share": share(Outcome.LIGHT_FALLBACK),
    }


def _variants(answered: Sequence[Reply]) -> dict[str, int]:
    counts = Counter(reply.told.variant for reply in answered if reply.told.variant)
    return dict(sorted(counts.items()))


def _stages(answered: Sequence[Reply]) -> dict[str, float] | None:
    """Return the mean seconds in each stage, by the server's clock."""
    told = [reply.told.stage_s for reply in answered if reply.told.stage_s]
    if not told:
        return None
    return {name: statistics.fmean(stages.get(name, 0.0) for stages in told) for name in STAGES}


def _errors(replies: Sequence[Reply]) -> dict[str, int]:
    """Return the most frequent messages."""
    return dict(Counter(reply.error for reply in replies if reply.error).most_common(5))


def bins_of(replies: Sequence[Reply], slo_s: float, duration_s: float) -> list[Bin]:
    """Return what became of the queries by time of arrival, in steps of whole seconds."""
    width_s = float(max(1, math.ceil(duration_s / NUM_BINS_MAX)))
    groups: list[list[Reply]] = [[] for _ in range(max(1, math.ceil(duration_s / width_s)))]
    for reply in replies:
        groups[min(len(groups) - 1, int(reply.arrival_s / width_s))].append(reply)
    bins = []
    for number, group in enumerate(groups):
        good = sum(reply.is_good(slo_s) for reply in group)
        answered = sum(reply.status is Status.ANSWERED for reply in group)
        refused = sum(reply.status is Status.REFUSED for reply in group)
        lost = len(group) - answered - refused
        bins.append(Bin(number * width_s, width_s, good, answered - good, refused, lost))
    return bins
