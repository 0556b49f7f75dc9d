from __future__ import annotations

from typing import Any

import pytest

from diffserve.sim.ablations import ABLATIONS
from diffserve.sim.policies import POLICIES
from diffserve.sim.run import simulate
from tests.sim.runs import simulation


def result(policy: str, **fields: Any) -> dict[str, Any]:
    return simulate(simulation(policy, peak_qps=32.0, duration_s=80.0, num_workers=16, **fields))


def test_names_are_their_own() -> None:
    assert not [name for name in ABLATIONS if name in POLICIES]


@pytest.mark.parametrize("policy", ABLATIONS)
def test_every_query_has_its_outcome(policy: str) -> None:
    metrics = result(policy, cv=3.0)
    assert metrics["policy"] == policy
    assert sum(metrics["outcomes"].values()) == metrics["queries"] > 0


def test_without_fallback_deferred_queries_can_be_lost() -> None:
    ours, without = result("diffserve"), result("diffserve-no-fallback")
    assert ours["outcomes"]["light_fallback"] > 0
    assert without["outcomes"]["light_fallback"] == 0
    assert without["slo_violation_ratio"] > ours["slo_violation_ratio"]


def test_less_is_deferred_when_only_the_sure_share_may_be() -> None:
    assert result("diffserve-sure-share")["heavy_share"] < result("diffserve")["heavy_share"]


def test_one_plan_is_one_plan() -> None:
    metrics = result("diffserve-plan-once")
    assert metrics["plans"] == 1
    assert metrics["swaps"] == 0


def test_published_dispatch_violates_with_our_plans() -> None:
    assert result("diffserve-published-dispatch")["slo_violation_ratio"] > 0.01


def test_clipper_without_batches_carries_less() -> None:
    fewer, more = result("clipper-heavy-batch-1"), result("clipper-heavy")
    assert fewer["slo_violation_ratio"] > more["slo_violation_ratio"]


def test_late_drops_make_the_slowest_answers_later() -> None:
    late, published = result("diffserve-paper-late-drop"), result("diffserve-paper")
    assert late["latency_s_p99"] >= published["latency_s_p99"]
