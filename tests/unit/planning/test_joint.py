from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from diffserve.core import Plan, RequestClass
from diffserve.planning.columns import PAIRED_WORKERS_MAX
from diffserve.planning.fleet_problem import Place, RoutingPoint
from diffserve.planning.joint import (
    IDLE_DEFAULT_QPS,
    IDLE_QPS,
    IDLE_SHARE,
    can_share,
    current_places,
    joint_problem,
    planned_demand_qps,
    routing_points,
    workers_by_device,
)
from diffserve.planning.observation import CascadeObservation, QueueState, VariantFacts
from diffserve.planning.parameters import PlannerParameters
from diffserve.planning.problem import Objective
from diffserve.planning.waits import WaitModel
from diffserve.profiles.curves import DeferralProfile
from diffserve.profiles.latency import LatencyProfile
from tests.unit.planning.fleets import FAST, SLOW, bypass, observed, seen, workers

DEFAULTS = PlannerParameters()
TWO = (seen("fast", "slow", 3.0), seen("medium", "slow", 0.0))
QUICK = {"fast": {"quick": LatencyProfile({1: 0.05})}, "slow": {"quick": LatencyProfile({1: 0.5})}}


def placed(**placement: str) -> Plan:
    return Plan(plan_id=1, placement=placement, batch_size_max={}, cascades={})


def test_devices_are_alike_unless_profiles_tell_them_apart():
    mixed = (*workers(2), *workers(3, "quick"))
    alike = observed(seen("fast", "slow", 1.0), workers=mixed)
    assert [len(m) for m in workers_by_device(alike).values()] == [5]
    told = replace(alike, latency_by_device=QUICK)
    problem = joint_problem(told, None, DEFAULTS)
    assert problem.devices == {"gpu": 2, "quick": 3}
    assert problem.latency["slow", "quick"].execution_s(1) == 0.5
    assert problem.latency["slow", "gpu"] is SLOW


def test_demand_of_a_class_is_the_sum_over_its_cascades():
    observation = observed(*TWO, queues={"fast": QueueState(length=10, due_qps=2.0)})
    (group,) = observation.groups
    assert planned_demand_qps(observation, group, DEFAULTS) == pytest.approx(3.0 + 10 / 5.0)
    calm = PlannerParameters(drains_backlog=False, headroom=1.5)
    assert planned_demand_qps(observation, group, calm) == pytest.approx(4.5)


def test_a_shared_queue_is_divided_between_classes():
    both = observed(
        seen("fast", "slow", 3.0, name="a"),
        seen("fast", "slow", 1.0, name="b"),
        classes=(),
        queues={"fast": QueueState(length=20, due_qps=4.0)},
    )
    planned = [planned_demand_qps(both, g, DEFAULTS) for g in both.groups]
    assert planned == pytest.approx([3.0 + 3.0, 1.0 + 1.0])
    idle = replace(both, cascades={k: replace(c, demand_qps=0.0) for k, c in both.cascades.items()})
    assert [planned_demand_qps(idle, g, DEFAULTS) for g in idle.groups] == [2.0, 2.0]


def test_idle_classes_are_planned_for():
    both = observed(seen("fast", "slow", 9.0), seen("medium", "slow", 0.0), classes=())
    problem = joint_problem(both, None, DEFAULTS)
    assert [g.demand_qps for g in problem.classes] == [9.0, pytest.approx(IDLE_SHARE * 9.0)]
    idle = observed(seen("fast", "slow", 0.0), seen("medium", "slow", 0.0))
    (group,) = joint_problem(idle, None, DEFAULTS).classes
    assert group.demand_qps == IDLE_QPS
    for name in (group.class_id, next(iter(idle.cascades))):
        waiting = replace(idle, default_cascade=name)
        assert joint_problem(waiting, None, DEFAULTS).classes[0].demand_qps == IDLE_DEFAULT_QPS


def test_points_are_the_corners_of_the_curves():
    plain = seen("fast", "slow", 1.0)
    assert routing_points(plain, DEFAULTS) == (
        RoutingPoint(0.0, 0.0, 0.0),
        RoutingPoint(0.0, 0.5, 4.0),
        RoutingPoint(0.0, 1.0, 6.0),
    )
    ranked = replace(plain, bypass=(bypass(0.3, 2.0, 4.5, 6.0),))
    points = routing_points(ranked, DEFAULTS)
    assert RoutingPoint(0.3, 0.5, 4.5) in points
    assert points[-1] == RoutingPoint(1.0, 1.0, 6.0)


def test_threshold_objective_has_thresholds_for_values():
    profile = DeferralProfile((0.0, 0.2, 0.4, 1.0), (0.1, 0.1, 0.6, 1.0))
    cascade = seen("fast", "slow", 1.0, deferral=profile)
    points = routing_points(cascade, PlannerParameters(objective=Objective.THRESHOLD))
    assert points == (
        RoutingPoint(0.0, 0.0, 0.0),
        RoutingPoint(0.0, 0.1, 0.2),
        RoutingPoint(0.0, 0.6, 0.4),
        RoutingPoint(0.0, 1.0, 1.0),
    )


def test_two_variants_share_a_device_only_where_they_are_known_to_fit():
    fleet = workers(2)
    observation = observed(seen("fast", "slow", 1.0), workers=fleet)
    assert not can_share(observation, fleet, "fast", "slow")
    assert not can_share(observation, (), "fast", "slow")
    resident = workers(2, resident=("fast", "slow"))
    assert can_share(observation, resident, "fast", "slow")
    facts = {v: VariantFacts(base=v, memory_bytes=10) for v in ("fast", "slow")}
    for limit, fits in ((20, True), (19, False), (0, False)):
        known = replace(observation, variants=facts, memory_by_device={"gpu": limit})
        assert can_share(known, fleet, "fast", "slow") is fits
        assert joint_problem(known, None, DEFAULTS).pairs[""] == (
            {("fast", "slow")} if fits else frozenset()
        )
    crowd = workers(PAIRED_WORKERS_MAX + 1, resident=("fast", "slow"))
    large = joint_problem(replace(observation, workers=crowd), None, DEFAULTS)
    assert large.pairs[""] == frozenset()


def test_what_workers_hold_and_are():
    facts = {v: VariantFacts(base="w") for v in ("fast", "medium")}
    fleet = (*workers(1, resident=("slow",)), *workers(1, "quick"))
    observation = observed(*TWO, workers=fleet, variants=facts)
    plan = replace(placed(**{"gpu-00": "fast", "quick-00": "fast"}))
    problem = joint_problem(observation, plan, DEFAULTS)
    assert problem.residency == {("slow", ""): 1, ("w", ""): 2}
    assert problem.current == {Place("", ("w",)): 2}
    shared = replace(plan, coresident={"gpu-00": ("slow",)})
    assert current_places(observation, shared) == {
        Place("", ("slow", "w")): 1,
        Place("", ("w",)): 1,
    }


def test_waits_follow_queues_and_pool_sizes():
    small = joint_problem(observed(*TWO, num_workers=3), None, DEFAULTS).waits_s
    large = joint_problem(observed(*TWO, num_workers=300), None, DEFAULTS).waits_s
    assert all(large[v] < small[v] for v in small)
    queue = {"slow": QueueState(length=12, oldest_age_s=1.0)}
    busy = observed(*TWO, num_workers=3, queues=queue)
    assert joint_problem(busy, None, DEFAULTS).waits_s["slow"] == pytest.approx(12.0)
    plan = placed(**{"gpu-00": "slow", "gpu-01": "slow"})
    assert joint_problem(busy, plan, DEFAULTS).waits_s["slow"] == pytest.approx(6.0)
    little = PlannerParameters(wait_model=WaitModel.LITTLE, drains_backlog=False)
    assert joint_problem(busy, None, little).waits_s["slow"] == pytest.approx(12 / 3.0)
    full = PlannerParameters(utilisation_max=1.0)
    assert joint_problem(observed(*TWO), None, full).waits_s["fast"] == 0.0


def test_several_classes_keep_their_candidates():
    observation = observed(
        *TWO,
        seen("fast", "medium", 1.0),
        classes=(RequestClass(class_id="z", cascade_ids=("fast-slow", "medium-slow"), weight=2.0),),
    )
    problem = joint_problem(observation, None, DEFAULTS)
    assert [(g.class_id, len(g.candidates), g.weight) for g in problem.classes] == [
        ("fast-medium", 1, 1.0),
        ("z", 2, 2.0),
    ]
    assert problem.latency["fast", ""] is FAST


def capped(deferral_max: float, **changes: Any) -> CascadeObservation:
    plain = seen("fast", "slow", 1.0, **changes)
    return replace(plain, cascade=replace(plain.cascade, deferral_max=deferral_max))


def heavy_share(point: RoutingPoint) -> float:
    return point.bypass + (1.0 - point.bypass) * point.deferral


def test_no_point_is_beyond_the_cap():
    assert routing_points(capped(0.25), DEFAULTS) == (
        RoutingPoint(0.0, 0.0, 0.0),
        RoutingPoint(0.0, 0.25, 2.0),
    )
    assert routing_points(capped(0.5), DEFAULTS) == routing_points(capped(1.0), DEFAULTS)[:2]
    assert routing_points(capped(0.0), DEFAULTS) == (RoutingPoint(0.0, 0.0, 0.0),)


def test_the_cap_counts_queries_that_bypass_the_light_variant():
    ranked = capped(0.4, bypass=(bypass(0.2, 3.0, 5.0, 6.0), bypass(0.5, 4.0, 5.0, 6.0)))
    points = routing_points(ranked, DEFAULTS)
    assert {point.bypass for point in points} == {0.0, 0.2}
    assert max(map(heavy_share, points)) == pytest.approx(0.4)


def test_a_cap_holds_for_thresholds_and_a_pin_goes_beyond_it():
    threshold = PlannerParameters(objective=Objective.THRESHOLD, deferral_cap_at_best=False)
    points = routing_points(capped(0.5), threshold)
    assert [point.deferral for point in points] == [0.0, 0.5]
    pinned = capped(0.25, pinned_share=0.75)
    assert [point.deferral for point in routing_points(pinned, DEFAULTS)] == [0.75]
