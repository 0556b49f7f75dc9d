"""Arrivals per period, from counters that restart, pause and vanish with their load balancers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffserve.telemetry.records import LoadBalancerReport

SCALE_MAX = 2.0
"""Most by which a short report may be stretched: a load balancer's clock that jumps must not turn
a few queries into a flood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalCount:
    """Queries that arrived during one interval.

    Attributes:
        interval_s: Length of the interval, seconds.
        arrivals: ``cascade_id`` -> queries.
    """

    interval_s: float
    arrivals: Mapping[str, int]

    def rate_qps(self, cascade_id: str) -> float:
        """Return arrivals per second."""
        return self.arrivals.get(cascade_id, 0) / self.interval_s


class ArrivalMeter:
    """Turns counters into arrivals between two readings; never negative, never a huge catch-up.

    A load balancer counts only against an earlier report of the same process: the first report of
    a new one, or of one that was away, is a baseline. Its difference is taken over the seconds
    between its own two reports and scaled to our interval, because the two are out of step.
    """

    def __init__(self, now_s: float) -> None:
        self._counted_s = now_s
        self._baselines: dict[str, LoadBalancerReport] = {}

    def seconds_since_count(self, now_s: float) -> float:
        """Return the seconds since arrivals were last counted."""
        return now_s - self._counted_s

    def count(self, reports: Sequence[LoadBalancerReport], now_s: float) -> ArrivalCount | None:
        """Take in a reading; None when no load balancer can be compared with its earlier self."""
        interval_s = now_s - self._counted_s
        before, self._baselines = self._baselines, {r.loadbalancer_id: r for r in reports}
        totals: dict[str, float] = {}
        is_counted = False
        for report in reports:
            baseline = before.get(report.loadbalancer_id)
            if baseline is not None and _is_later(report, baseline):
                is_counted = True
                scale = _scale(report, baseline, interval_s)
                for cascade_id, cascade in report.cascades.items():
                    arrivals = cascade.num_arrivals - _arrivals(baseline, cascade_id)
                    totals[cascade_id] = totals.get(cascade_id, 0.0) + scale * arrivals
        if not is_counted and before:
            # Nobody reported since: look again later, over the longer interval.
            return None
        self._counted_s = now_s
        if not is_counted:
            return None
        rounded = {cascade_id: round(total) for cascade_id, total in totals.items()}
        return ArrivalCount(interval_s=interval_s, arrivals=rounded)


def _arrivals(report: LoadBalancerReport, cascade_id: str) -> int:
    cascade = report.cascades.get(cascade_id)
    return cascade.num_arrivals if cascade is not None else 0


def _is_later(report: LoadBalancerReport, baseline: LoadBalancerReport) -> bool:
    """Whether ``report`` continues ``baseline``: same process, newer, no counter reset."""
    return (
        report.incarnation == baseline.incarnation
        and report.reported_unix_s != baseline.reported_unix_s
        and all(_arrivals(report, c) >= _arrivals(baseline, c) for c in baseline.cascades)
    )


def _scale(report: LoadBalancerReport, baseline: LoadBalancerReport, interval_s: float) -> float:
    gap_s = report.reported_unix_s - baseline.reported_unix_s
    return min(interval_s / gap_s, SCALE_MAX) if gap_s > 0.0 else 1.0
