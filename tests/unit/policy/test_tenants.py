"""Rates, numbers in progress and fair shares of tenants."""

from __future__ import annotations

from dataclasses import replace

import pytest

from diffserve.core import Outcome, Priority, Query, RefusalCause
from diffserve.policy import tenants as module
from diffserve.policy.balancer import Balancer
from diffserve.policy.parameters import BalancerParameters
from diffserve.policy.tenants import TenantLimits, Tenants
from tests.unit.policy.harness import CASCADE, HEAVY, LIGHT, QUALITY, Harness, make_query, plan


def query_of(tenant: str, arrival_s: float = 0.0, query_id: str = "q") -> Query:
    return replace(make_query(query_id, arrival_s), tenant=tenant)


def cause_of(tenants: Tenants, tenant: str, wait_s: float, now_s: float) -> RefusalCause | None:
    refusal = tenants.arrive(query_of(tenant, now_s), wait_s, now_s)
    return refusal.cause if refusal else None


def test_the_bucket_lets_a_burst_through_and_then_the_rate() -> None:
    tenants = Tenants({"a": TenantLimits(rate_qps=2.0, burst=3.0)})
    assert [cause_of(tenants, "a", 0.0, 0.0) for _ in range(4)] == [
        *(None, None, None),
        RefusalCause.TENANT_RATE,
    ]
    refusal = tenants.arrive(query_of("a"), 0.0, 0.1)
    assert refusal is not None
    assert refusal.retry_after_s == pytest.approx(0.4)
    assert cause_of(tenants, "a", 0.0, 0.5) is None
    assert cause_of(tenants, "b", 0.0, 0.5) is None, "others have a bucket of their own"


def test_a_limit_of_queries_in_progress_counts_what_has_not_ended() -> None:
    tenants = Tenants({"a": TenantLimits(in_progress_max=2)})
    for _ in range(2):
        assert cause_of(tenants, "a", 0.0, 0.0) is None
        tenants.opened("a", 0.0)
    assert cause_of(tenants, "a", 0.0, 0.0) is RefusalCause.TENANT_IN_PROGRESS
    tenants.closed("a")
    assert cause_of(tenants, "a", 0.0, 0.0) is None
    assert tenants.num_in_progress("a") == 1
    assert tenants.num_in_progress("nobody") == 0


def test_shares_bind_only_while_waits_are_long_and_others_are_active() -> None:
    tenants = Tenants({"a": TenantLimits(weight=3.0)})
    for _ in range(8):
        tenants.opened("a", 0.0)
    assert cause_of(tenants, "a", 4.0, 0.0) is None, "alone, all is its share"
    tenants.opened("b", 0.0)
    assert cause_of(tenants, "a", 1.0, 0.0) is None, "waits are short"
    assert cause_of(tenants, "a", 4.0, 0.0) is RefusalCause.TENANT_SHARE
    assert cause_of(tenants, "b", 4.0, 0.0) is None
    for _ in range(3):
        tenants.opened("b", 0.0)  # 8 : 4, and 9 of 13 is less than three quarters
    assert cause_of(tenants, "a", 4.0, 0.0) is None
    assert cause_of(tenants, "a", float("inf"), 0.0) is None


def test_a_tenant_is_active_for_a_while_after_its_last_query() -> None:
    tenants = Tenants()
    for _ in range(8):
        tenants.opened("a", 0.0)
    assert cause_of(tenants, "b", 0.0, 0.0) is None
    assert cause_of(tenants, "a", float("inf"), module.ACTIVE_S) is RefusalCause.TENANT_SHARE
    assert cause_of(tenants, "a", float("inf"), module.ACTIVE_S + 1.0) is None


def test_tenants_without_queries_are_forgotten() -> None:
    tenants = Tenants()
    tenants.opened("busy", 0.0)
    for index in range(3 * module.NUM_REMEMBERED):
        assert cause_of(tenants, f"t{index}", 0.0, 100.0 * index) is None
    assert len(tenants._accounts) <= module.NUM_REMEMBERED
    assert tenants.num_in_progress("busy") == 1


def make_harness(tenants: Tenants | None = None) -> Harness:
    balancer = Balancer(
        {"c": CASCADE},
        {"light": LIGHT, "heavy": HEAVY},
        BalancerParameters(),
        quality={"c": QUALITY},
        tenants=tenants,
    )
    harness = Harness(balancer, percentile=lambda query_id: 1.0)
    harness.at(0.0, lambda: balancer.worker_found("w", 0.0))
    harness.at(0.0, lambda: balancer.apply_plan(plan({"w": "light"}), 0.0))
    return harness


def outcomes(harness: Harness, prefix: str) -> list[Outcome]:
    return [f.outcome for name, f in sorted(harness.finished.items()) if name.startswith(prefix)]


def test_a_flood_does_not_take_a_calm_tenants_answers() -> None:
    harness = make_harness()
    for index in range(40):  # one per second, far below the worker's 16 per second
        harness.submit(query_of("calm", 0.5 * index, f"calm-{index:04}"))
    for index in range(800):  # 40 per second for 20 s
        harness.submit(query_of("flood", 0.025 * index + 0.01, f"flood-{index:04}"))
    harness.run()
    assert outcomes(harness, "calm") == [Outcome.LIGHT] * 40
    flood = outcomes(harness, "flood")
    assert set(flood) == {Outcome.LIGHT, Outcome.REJECTED}
    assert 200 < flood.count(Outcome.LIGHT) < 400, "it gets what the other leaves"
    causes = {f.cause for f in harness.finished.values() if f.outcome is Outcome.REJECTED}
    assert causes == {RefusalCause.TENANT_SHARE}


def test_high_overtakes_low_and_low_is_answered_or_expires() -> None:
    harness = make_harness()
    for index in range(300):
        low = replace(make_query(f"low-{index:04}", 0.01 * index), priority=Priority.LOW)
        harness.submit(low)
    for index in range(30):
        high = replace(make_query(f"high-{index:04}", 0.1 * index + 0.05), priority=Priority.HIGH)
        harness.submit(high)
    harness.run()
    assert outcomes(harness, "high") == [Outcome.LIGHT] * 30
    waits_s = [harness.finished_s[f"high-{i:04}"] - (0.1 * i + 0.05) for i in range(30)]
    assert max(waits_s) < 0.6, "at most the batch in progress and its own"
    low_outcomes = outcomes(harness, "low")
    assert len(low_outcomes) == 300
    assert set(low_outcomes) <= {Outcome.LIGHT, Outcome.REJECTED, Outcome.EXPIRED}
    assert low_outcomes.count(Outcome.LIGHT) > 50


def test_low_priority_is_not_starved_once_the_others_pause() -> None:
    harness = make_harness()
    harness.submit(replace(make_query("low-1", 0.0, slo_s=9.0), priority=Priority.LOW))
    for index in range(60):
        high = replace(make_query(f"high-{index:04}", 0.05 * index), priority=Priority.HIGH)
        harness.submit(high)
    harness.run()
    assert outcomes(harness, "low") == [Outcome.LIGHT]


def test_admission_counts_only_what_is_ahead() -> None:
    harness = make_harness()
    for index in range(90):
        low = replace(make_query(f"low-{index:04}", 0.0), priority=Priority.LOW)
        harness.submit(low)
    short = replace(make_query("high", 0.1, slo_s=0.8), priority=Priority.HIGH)
    same = replace(make_query("low-late", 0.1, slo_s=4.91), priority=Priority.LOW)
    harness.submit(short)
    harness.submit(same)
    harness.run()
    assert harness.finished["high"].outcome is Outcome.LIGHT
    assert harness.finished["low-late"].outcome is Outcome.REJECTED
