"""Load balancers that come and go get and lose leases."""

from __future__ import annotations

import pytest

from diffserve.telemetry.records import CascadeReport, LoadBalancerReport
from services.controller.balancers import BalancerBook
from tests.unit.policy.test_leases import placed

PERIOD_S = 2.0


def report(name: str, at_s: float, num_arrivals: int = 0) -> LoadBalancerReport:
    cascade = CascadeReport(num_arrivals=num_arrivals, num_in_progress=0)
    return LoadBalancerReport(
        loadbalancer_id=name,
        incarnation="first",
        plan_id=1,
        queues={},
        cascades={"c": cascade},
        reported_unix_s=at_s,
    )


def test_leases_follow_those_that_report() -> None:
    now_s = 0.0
    book = BalancerBook(PERIOD_S, lambda: now_s)
    assert not book.with_leases(placed(2, 2), None).shares
    book.take_in([report("a", 0.0)])
    alone = book.with_leases(placed(2, 2), None)
    assert set(alone.shares) == {"a"}
    assert not alone.owners
    now_s = 1.0
    book.take_in([report("a", 1.0), report("b", 1.0)])
    both = book.with_leases(placed(2, 2), alone)
    assert sorted(both.owners.values()) == ["a", "a", "b", "b"]
    now_s = 2.7  # `a` has died: Redis still holds its last report
    book.take_in([report("a", 1.0), report("b", 2.7)])
    assert set(book.with_leases(placed(2, 2), both).shares) == {"a", "b"}
    assert (book.age_s("a"), book.age_s("b")) == (pytest.approx(1.7), 0.0)
    now_s = 3.1
    book.take_in([report("a", 1.0), report("b", 3.1)])
    after = book.with_leases(placed(2, 2), both)
    assert set(after.shares) == {"b"}
    assert not after.owners
