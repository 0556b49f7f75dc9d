from __future__ import annotations

from dataclasses import replace

import pytest

from diffserve.core import RequestClass
from diffserve.planning.observation import FleetObservation, QueueState, VariantFacts
from diffserve.planning.parameters import PlannerParameters
from diffserve.planning.planner import make_plan
from diffserve.planning.problem import Objective
from diffserve.planning.solver import Solver, open_cbc
from diffserve.profiles.latency import LatencyProfile
from tests.unit.planning.fleets import PROFILES, bypass, observed, seen, workers


@pytest.fixture(scope="module")
def solver() -> Solver:
    return open_cbc() or pytest.skip("no CBC executable")


def plan(observation: FleetObservation, solver: Solver, previous=None, **parameters):
    return make_plan(observation, previous, PlannerParameters(**parameters), solver, plan_id=1)


def mix(demand_qps: float, **changes) -> FleetObservation:
    cascades = (
        seen("fast", "slow", demand_qps),
        seen("fast", "medium", 0.0),
        seen("medium", "slow", 0.0),
    )
    return observed(*cascades, **changes)


def test_shares_of_a_class_sum_to_one(solver):
    for demand_qps in (0.0, 1.0, 8.0, 20.0, 60.0, 400.0):
        made = plan(mix(demand_qps), solver)
        shares = {c: p.class_share for c, p in made.cascades.items()}
        assert sum(shares.values()) == pytest.approx(1.0)
        assert made.status == "optimal" and len(made.placement) == 8
        for cascade in made.cascades.values():
            assert cascade.demand_qps == pytest.approx(demand_qps * cascade.class_share)
            assert cascade.deferral_target >= cascade.deferral_fraction
            if cascade.class_share == 0.0:
                assert cascade.deferral_target == 0.0
            elif cascade.deferral_fraction > 0.0:
                heavy = cascade.cascade_id.split("-")[1]
                assert heavy in made.placement.values()


def test_quality_falls_and_the_mix_changes_with_demand(solver):
    qualities, leaders = [], []
    for demand_qps in (2.0, 8.0, 20.0, 60.0):
        made = plan(mix(demand_qps), solver).cascades
        qualities.append(sum(c.class_share * c.expected_quality for c in made.values()))
        leaders.append(max(made, key=lambda c: made[c].class_share))
    assert qualities == sorted(qualities, reverse=True)
    assert leaders[0] == "medium-slow" and leaders[-1].startswith("fast")


def test_the_reason_says_what_each_cascade_of_a_mixture_does(solver):
    made = plan(mix(30.0), solver)
    used = [c for c in made.cascades.values() if c.class_share > 0.0]
    assert len(used) > 1
    for cascade in used:
        share = f"{100 * cascade.class_share:.0f} % by {cascade.cascade_id} ("
        assert made.reason.partition(share)[2].partition(")")[0].endswith("deferred"), made.reason


def test_mixing_beats_every_single_cascade(solver):
    mixed = plan(mix(9.0), solver).cascades
    value = sum(c.class_share * c.expected_quality for c in mixed.values())
    for cascade in mix(9.0).cascades.values():
        alone = plan(observed(replace(cascade, demand_qps=9.0)), solver)
        (only,) = alone.cascades.values()
        assert value >= only.expected_quality - 1e-6


def test_hard_prompts_skip_the_light_variant(solver):
    ranked = seen("medium", "slow", 4.0, bypass=(bypass(0.5, 6.3, 6.4, 6.5),))
    made = plan(observed(ranked), solver)
    (share,) = made.cascades.values()
    assert 0.0 < share.bypass_fraction <= 1.0
    assert share.expected_quality > 6.0
    assert "straight to heavy" in made.reason


def two_types(demand_qps: float, slowdown: float) -> FleetObservation:
    profiles = {
        v: {
            "quick": p,
            "gpu": LatencyProfile({b: slowdown * s for b, s in p.seconds_by_batch.items()}),
        }
        for v, p in PROFILES.items()
    }
    fleet = (*workers(4), *workers(4, "quick"))
    cascade = seen("fast", "slow", demand_qps)
    return observed(cascade, workers=fleet, latency_by_device=profiles)


def hosts(made, device: str) -> set[str]:
    return {v for w, v in made.placement.items() if w.startswith(device)}


def test_fast_devices_do_what_slow_ones_cannot(solver):
    made = plan(two_types(5.0, 6.0), solver)
    assert hosts(made, "gpu") == {"fast"} and "slow" in hosts(made, "quick")
    assert len(made.placement) == 8


def test_devices_that_nothing_needs_stand_by(solver):
    calm = plan(two_types(0.5, 2.0), solver)
    assert len(calm.placement) == 8
    hopeless = plan(two_types(0.5, 100.0), solver)
    assert hosts(hopeless, "gpu") == set() and len(hopeless.placement) == 4
    assert hopeless.reason.endswith("4 of 8 workers parked")


def test_operating_points_of_one_base_share_workers(solver):
    facts = {v: VariantFacts(base="weights") for v in ("fast", "slow")}
    observation = observed(seen("fast", "slow", 4.0), num_workers=1, variants=facts)
    resident = replace(observation, workers=workers(1, resident=("fast", "slow")))
    made = plan(resident, solver)
    ((worker, main),) = made.placement.items()
    assert {main, *made.coresident[worker]} == {"fast", "slow"}


def test_a_single_worker_serves_the_whole_cascade(solver):
    fleet = workers(1, resident=("fast", "slow"))
    made = plan(observed(seen("fast", "slow", 0.5), workers=fleet), solver)
    assert set(made.variants_of("gpu-00")) == {"fast", "slow"}
    (share,) = made.cascades.values()
    assert share.deferral_fraction == 1.0
    busy = plan(observed(seen("fast", "slow", 6.0), workers=fleet), solver)
    (share,) = busy.cascades.values()
    assert 0.0 < share.deferral_fraction < 1.0
    strangers = plan(observed(seen("fast", "slow", 0.5), num_workers=1), solver)
    assert strangers.coresident == {} and set(strangers.placement.values()) == {"fast"}


def test_overload_is_told(solver):
    made = plan(mix(5000.0), solver)
    assert "% exceed what the workers can serve" in made.reason
    assert sum(c.class_share for c in made.cascades.values()) == pytest.approx(1.0)
    stuck = plan(
        mix(1.0, queues={"fast": QueueState(length=10**6, oldest_age_s=60.0, due_qps=10.0**6)}),
        solver,
    )
    assert len(stuck.placement) == 8


def test_class_that_is_shed_whole_still_has_a_cascade(solver):
    slow_only = observed(
        seen("fast", "slow", 1e7, name="a"),
        seen("fast", "slow", 1.0, name="b"),
        classes=(),
        num_workers=1,
    )
    made = plan(slow_only, solver)
    assert made.cascades["b"].class_share == made.cascades["a"].class_share == 1.0


def test_parking_leaves_workers_out(solver):
    made = plan(observed(seen("fast", "slow", 2.0)), solver, parks_spare=True)
    assert len(made.placement) < 8
    assert made.reason.endswith("workers parked")
    (share,) = made.cascades.values()
    assert share.deferral_fraction == pytest.approx(1.0, abs=0.01)
    by_default = plan(mix(2.0), solver)
    assert len(by_default.placement) == 8 and "quality needs" in by_default.reason


def test_threshold_objective_is_planned_jointly_too(solver):
    made = plan(mix(4.0), solver, objective=Objective.THRESHOLD, deferral_cap_at_best=False)
    used = [c for c in made.cascades.values() if c.class_share > 0.0]
    assert all(c.deferral_target == c.deferral_fraction for c in used)
    assert max(c.deferral_fraction for c in used) == 1.0


def test_classes_are_explained_one_by_one(solver):
    observation = observed(
        seen("fast", "slow", 2.0),
        seen("medium", "slow", 1.0),
        classes=(RequestClass(class_id="gold", cascade_ids=("medium-slow",), weight=3.0),),
    )
    made = plan(observation, solver)
    assert made.reason.startswith("fast-slow: demand 2.0 qps, ")
    assert "; gold: demand 1.0 qps, " in made.reason


def test_batches_are_capped_by_the_deadline(solver):
    assert plan(mix(8.0), solver).batch_size_max["slow"] == 2
    tight = [replace(c, cascade=replace(c.cascade, slo_s=1.7)) for c in mix(8.0).cascades.values()]
    assert plan(observed(*tight), solver).batch_size_max["slow"] == 1


def test_unchanged_observation_keeps_the_plan(solver):
    first = plan(mix(9.0), solver)
    second = plan(mix(9.0), solver, first)
    assert second.placement == first.placement
    nearby = plan(mix(9.3), solver, first, gain_min=1.0)
    assert nearby.placement == first.placement
