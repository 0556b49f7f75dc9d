from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffserve.planning.columns import (
    PAIRED_WORKERS_MAX,
    VARIABLES_MAX,
    capped_waits,
    places,
    routes,
)
from diffserve.planning.fleet_problem import Candidate, Place, RoutingPoint
from diffserve.planning.observation import VariantFacts
from diffserve.profiles.latency import LatencyProfile
from tests.unit.planning.fleets import PROFILES, candidate, fleet, group

PAIR = {"gpu": frozenset({("fast", "slow")})}


def test_places_are_bases_and_allowed_pairs():
    assert places(fleet()) == (Place("gpu", ("fast",)), Place("gpu", ("slow",)))
    assert Place("gpu", ("fast", "slow")) in places(fleet(pairs=PAIR))
    large = fleet(pairs=PAIR, devices={"gpu": PAIRED_WORKERS_MAX + 1})
    assert len(places(large)) == 2


def test_operating_points_of_one_base_share_its_place():
    facts = {"fast": VariantFacts(base="weights"), "slow": VariantFacts(base="weights")}
    assert places(fleet(facts=facts)) == (Place("gpu", ("weights",)),)


def test_a_variant_that_cannot_run_somewhere_has_no_pool_there():
    latency = {(v, "gpu"): p for v, p in PROFILES.items()} | {("fast", "tpu"): PROFILES["fast"]}
    problem = fleet(devices={"gpu": 1, "tpu": 1}, latency=latency)
    assert Place("tpu", ("slow",)) not in places(problem)
    for route in routes(problem):
        assert {p.place.device for p in route.heavies} <= {"gpu"}


def test_pools_take_the_most_productive_batches_that_meet_the_deadline():
    (light_only, both) = routes(fleet())
    assert light_only.heavies == () and both.lights[0].batch_size == 4
    assert both.heavies[0].batch_size == 2
    tight = routes(fleet(group(slo_s=1.3)))
    assert [r.heavies[0].batch_size for r in tight if r.heavies] == [1]


def test_infeasible_routes_do_not_exist():
    found = routes(fleet(group(slo_s=1.05)))
    assert [r.heavies for r in found] == [()]
    waiting = routes(fleet(group(slo_s=1.5), waits_s={"slow": 0.5}, wait_share_max=0.5))
    assert any(r.heavies for r in waiting)


def test_hopeless_class_keeps_its_fastest_light_pool():
    (last,) = routes(fleet(group(slo_s=0.05)))
    assert (last.lights[0].variant_id, last.lights[0].batch_size) == ("fast", 1)
    assert [p.deferral for p in last.points] == [0.0]


def test_a_pinned_share_that_no_deadline_allows_keeps_the_fastest_light_pool():
    pinned = replace(candidate(), points=(RoutingPoint(0.0, 0.5, 4.0),))
    (last,) = routes(fleet(group("main", pinned, slo_s=1.05)))
    assert (last.lights[0].variant_id, last.heavies) == ("fast", ())
    assert [(p.deferral, p.value) for p in last.points] == [(0.0, 4.0)]


def test_light_work_on_shared_workers_counts_the_heavy_query_before_it():
    shared = Place("gpu", ("fast", "slow"))
    for slo_s, is_there in ((2.5, True), (2.0, False)):
        found = routes(fleet(group(slo_s=slo_s), pairs=PAIR))
        assert any(p.place == shared for r in found if r.heavies for p in r.lights) == is_there


def test_divisions_of_the_deadline_that_another_beats_are_dropped():
    light = LatencyProfile({1: 0.1, 2: 0.15, 4: 0.25})
    heavy = LatencyProfile({1: 1.0, 2: 1.8, 4: 3.0})
    latency = {("fast", "gpu"): light, ("slow", "gpu"): heavy}
    found = routes(fleet(group(slo_s=1.9), latency=latency))
    sizes = [(r.lights[0].batch_size, r.heavies[0].batch_size) for r in found if r.heavies]
    assert sizes == [(1, 2), (4, 1)]


def test_dominated_points_are_dropped():
    points = (
        RoutingPoint(0.0, 0.0, 0.0),
        RoutingPoint(0.0, 0.2, 1.3),
        RoutingPoint(0.0, 0.4, 1.1),
        RoutingPoint(0.0, 0.6, 3.0),
        RoutingPoint(0.0, 1.0, 2.0),
    )
    dented = Candidate(cascade_id="dented", light="fast", heavy="slow", points=points)
    (_, both) = routes(fleet(group("main", dented)))
    assert [p.deferral for p in both.points] == [0.2, 0.6]


def test_bypass_of_everything_is_a_route_without_light_work():
    points = (*candidate().points, RoutingPoint(1.0, 1.0, 6.0))
    all_heavy = Candidate(cascade_id="c", light="fast", heavy="slow", points=points)
    found = routes(fleet(group("main", all_heavy)))
    assert any(r.lights == () and r.points == (points[-1],) for r in found)


def test_waits_are_capped_as_for_one_cascade():
    problem = fleet(waits_s={"fast": 10.0, "slow": 30.0})
    waits = capped_waits(problem, candidate(), 5.0)
    assert waits["light"] + waits["heavy"] == pytest.approx(0.5 * (5.0 - 1.1))


@settings(max_examples=20, deadline=None)
@given(
    num_classes=st.integers(1, 30),
    slo_s=st.floats(0.5, 10.0),
    num_points=st.integers(3, 60),
)
def test_programs_stay_small(num_classes, slo_s, num_points):
    points = tuple(
        RoutingPoint(0.0, i / num_points, (i / num_points) ** 0.5) for i in range(num_points + 1)
    )
    groups = [
        group(
            f"k{k}",
            *(
                Candidate(
                    cascade_id=f"{light}-{heavy}-{k}", light=light, heavy=heavy, points=points
                )
                for light, heavy in (("fast", "slow"), ("fast", "medium"), ("medium", "slow"))
            ),
            slo_s=slo_s,
        )
        for k in range(num_classes)
    ]
    found = routes(fleet(*groups, devices={"gpu": 8, "quick": 8}))
    assert sum(len(r.points) + len(r.lights) + len(r.heavies) for r in found) <= VARIABLES_MAX
    assert {r.class_index for r in found} == set(range(num_classes))
