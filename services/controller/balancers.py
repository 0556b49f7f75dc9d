"""Which load balancers are alive, and each one's share of the arrivals."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from diffserve.core import Plan
from diffserve.policy.leases import ArrivalShares, with_leases
from diffserve.telemetry.records import LoadBalancerReport

SILENCE = 0.9
"""Part of a period: reports are read once in each, and two readings without news are enough."""

logger = logging.getLogger(__name__)


class BalancerBook:
    """Load balancers by their reports; one that reports nothing new for a period is gone.

    Ages are of this clock: stamps of other machines are compared with each other only.
    """

    def __init__(self, period_s: float, clock: Callable[[], float]) -> None:
        self._period_s = period_s
        self._clock = clock
        self._shares = ArrivalShares()
        self._seen: dict[str, tuple[str, float, float]] = {}
        self._counted_s = self._read_s = clock()

    def take_in(self, reports: Sequence[LoadBalancerReport]) -> None:
        """Take in a reading of Redis; shares follow at most twice per period."""
        now_s = self._clock()
        # While nothing could be read nobody was silent: such a gap ages no report.
        unread_s = now_s - self._read_s if now_s - self._read_s > 1.5 * self._period_s else 0.0
        self._read_s = now_s
        before, self._seen = self._seen, {}
        for report in reports:
            stamp = (report.incarnation, report.reported_unix_s)
            old = before.get(report.loadbalancer_id)
            news_s = old[2] + unread_s if old is not None and old[:2] == stamp else now_s
            self._seen[report.loadbalancer_id] = (*stamp, news_s)
        alive = {b for b, seen in self._seen.items() if now_s - seen[2] < SILENCE * self._period_s}
        if alive == set(self._shares.shares()) and now_s - self._counted_s < self._period_s / 2.0:
            return
        self._counted_s = now_s
        counters = {
            report.loadbalancer_id: sum(c.num_arrivals for c in report.cascades.values())
            for report in reports
            if report.loadbalancer_id in alive
        }
        known = set(self._shares.shares())
        self._shares.observe(counters)
        if known and known != alive:
            logger.info("load balancers: %s", ", ".join(sorted(alive)) or "none")

    def age_s(self, loadbalancer_id: str) -> float:
        """Return the seconds since a load balancer that Redis knows reported anything new."""
        return self._clock() - self._seen[loadbalancer_id][2]

    def with_leases(self, plan: Plan, previous: Plan | None) -> Plan:
        """Return a plan that says which load balancer may use which workers."""
        return with_leases(plan, previous, self._shares.shares())
