"""Cascades that join while queries are on their way."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest

from diffserve.core import Cascade, CascadeStage, RequestClass
from diffserve.policy.balancer import Balancer
from diffserve.policy.parameters import BalancerParameters
from tests.unit.policy.harness import QUALITY, Harness, make_query
from tests.unit.policy.mixture import CASCADES, PROFILES, plan

NEAR, FAR = {"near": CASCADES["near"]}, {"far": CASCADES["far"]}
ALIKE = {"alike": replace(CASCADES["near"], cascade_id="alike", slo_s=3.0)}
"""Shares both variants, and so the price of the heavy workers, with ``near``."""
EVERYTHING: Mapping[str, Cascade] = {**NEAR, **FAR, **ALIKE}
PLACEMENT = {"w1": "tiny", "w2": "mid", "w3": "mid", "w4": "big"}
SHARES = {"near": 1.0, "far": 1.0, "alike": 1.0}


def serving(cascades: Mapping[str, Cascade]) -> Harness:
    """Return a balancer that serves these, under a plan for all."""
    balancer = Balancer(
        cascades, PROFILES, BalancerParameters(), quality=dict.fromkeys(cascades, QUALITY)
    )
    harness = Harness(balancer, profiles=dict(PROFILES))
    harness.percentile = lambda query_id: random.Random(query_id).random()
    harness.perform(balancer.apply_plan(plan(PLACEMENT, shares=SHARES), 0.0))
    return harness


def add(balancer: Balancer, classes: Mapping[str, RequestClass] | None = None) -> None:
    balancer.add_cascades(EVERYTHING, dict.fromkeys(EVERYTHING, QUALITY), classes or {})


def load(harness: Harness, names: list[str], begin_s: float, number: int) -> None:
    for index in range(number):
        arrival_s = begin_s + 0.15 * index
        query = make_query(f"{begin_s}-{index}", arrival_s)
        harness.submit(replace(query, cascade_id=names[index % len(names)]))


def test_what_is_added_is_served_as_if_it_had_always_been_there() -> None:
    late, always = serving(NEAR), serving(EVERYTHING)
    add(late.balancer)
    for harness in (late, always):
        harness.perform(harness.balancer.apply_plan(plan(PLACEMENT, shares=SHARES, plan_id=2), 0.0))
        load(harness, list(EVERYTHING), 0.5, 120)
        harness.run()
    assert late.finished == always.finished
    assert [pool.role for pool in late.balancer.pools()] == [
        pool.role for pool in always.balancer.pools()
    ]
    assert {launch.batch.variant_id for launch in late.launches} == set(PROFILES)


def test_queries_in_progress_end_under_the_cascade_they_began_with() -> None:
    harness = serving(NEAR)
    load(harness, ["near"], 0.5, 40)

    def joins() -> list:
        add(harness.balancer)
        newer = plan(PLACEMENT, shares=SHARES, plan_id=2)
        return harness.balancer.apply_plan(newer, harness.now_s)

    harness.at(3.01, joins)  # in the middle: batches run, queries wait
    load(harness, ["far", "alike"], 3.05, 60)
    harness.run()
    assert len(harness.finished) == 100
    ledger = harness.balancer.ledger
    assert [ledger.num_arrivals(c) for c in EVERYTHING] == [40, 30, 30]
    assert all(ledger.num_in_progress(c) == 0 for c in EVERYTHING)
    far_light = [x.batch for x in harness.launches if x.batch.variant_id == "mid"]
    assert {batch.stage for batch in far_light} == set(CascadeStage)


def test_a_class_of_added_cascades_can_be_named() -> None:
    harness = serving(NEAR)
    with pytest.raises(KeyError):
        harness.balancer.route("both")
    both = RequestClass(class_id="both", cascade_ids=("far", "alike"))
    add(harness.balancer, {"both": both})
    assert {harness.balancer.route("both") for _ in range(4)} == {"far", "alike"}


def test_known_cascades_stay_as_they_are() -> None:
    harness = serving(NEAR)
    changed = {"near": replace(CASCADES["near"], slo_s=50.0)}
    harness.balancer.add_cascades(changed, {"near": QUALITY}, {})
    assert harness.balancer.slo_s("near") == 5.0
