from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffserve.core import Cascade, Plan, RequestClass, WorkerInfo
from diffserve.errors import BackendError
from diffserve.planning import solver as solver_module
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.observation import (
    CascadeObservation,
    FleetObservation,
    QueueState,
    VariantFacts,
)
from diffserve.planning.planner import PlannerParameters, make_plan
from diffserve.planning.problem import Objective
from diffserve.planning.program import MixedIntegerProgram, ProgramSolution
from diffserve.planning.waits import WaitModel
from diffserve.policy.placement import count_switches
from tests.paper.cascades import paper_cascade
from tests.unit.planning import fleets

CASCADE = Cascade(
    cascade_id="main", light="light", heavy="heavy", discriminator="real-fake", slo_s=5.0
)
SOLVER = EnumerationSolver()
DEFAULTS = PlannerParameters()


def observed(demand_qps: float, cascade: Cascade = CASCADE) -> CascadeObservation:
    profiles = {k: v for k, v in paper_cascade("cascade_1").items() if k != "slo_s"}
    return CascadeObservation(cascade=cascade, demand_qps=demand_qps, **profiles)


def workers(num_workers: int) -> tuple[WorkerInfo, ...]:
    return tuple(
        WorkerInfo(worker_id=f"w{i:02}", address=f"host:{i}", device="cuda:0")
        for i in range(num_workers)
    )


def fleet(num_workers: int, demand_qps: float, **queues: QueueState) -> FleetObservation:
    return FleetObservation(
        workers=workers(num_workers), cascades={"main": observed(demand_qps)}, queues=queues
    )


def plan(
    observation: FleetObservation,
    previous: Plan | None = None,
    solver: Any = SOLVER,
    **parameters: Any,
) -> Plan:
    plan_id = previous.plan_id + 1 if previous else 1
    return make_plan(
        observation, previous, PlannerParameters(**parameters), solver, plan_id=plan_id
    )


def test_plan_names_everything_that_services_need():
    made = plan(fleet(16, 16.0))
    share = made.cascades["main"]
    assert made.plan_id == 1
    assert (made.solver, made.status, made.solve_s) == ("enumeration", "optimal", 0.0)
    assert sorted(made.placement) == [w.worker_id for w in workers(16)]
    assert made.workers["w03"].address == "host:3"
    assert len(made.workers_on("light")) + len(made.workers_on("heavy")) == 16
    assert set(made.batch_size_max) == {"light", "heavy"}
    assert share.demand_qps == 16.0
    assert share.deferral_fraction == pytest.approx(0.602)
    assert share.confidence_threshold == pytest.approx(0.215)
    assert share.expected_quality == pytest.approx(-16.79, abs=0.01)
    assert made.reason.startswith("demand 16.0 qps needs ")
    assert made.reason.endswith("=> 60 % deferred")


def test_demand_decides_how_much_is_deferred():
    fractions = [plan(fleet(16, d)).cascades["main"].deferral_fraction for d in (8, 28, 36, 250)]
    assert fractions == sorted(fractions, reverse=True)
    assert fractions[0] > 0.6 and fractions[-1] == 0.0


def test_headroom_is_planned_and_shown():
    made = plan(fleet(16, 10.0), headroom=1.2)
    assert made.cascades["main"].demand_qps == pytest.approx(12.0)


@pytest.mark.parametrize("demand_qps", [0.0, 1e-9, 5.0, 1e6])
@pytest.mark.parametrize("objective", list(Objective))
def test_every_small_fleet_has_a_plan(demand_qps, objective):
    for num_workers in (0, 1, 2, 3):
        made = plan(fleet(num_workers, demand_qps), objective=objective)
        assert len(made.placement) == num_workers
        if num_workers == 1:
            assert made.placement == {"w00": "light"}
        if num_workers >= 2 and demand_qps < 6.0:
            assert made.workers_on("light") and made.workers_on("heavy")


def test_no_worker_and_overload_are_explained():
    assert plan(fleet(0, 4.0)).reason == "no worker takes batches: none is alive, or all drain"
    overload = plan(fleet(4, 500.0))
    assert (overload.solver, overload.status) == ("fallback", "infeasible")
    assert overload.workers_on("heavy") == ()
    assert "exceeds the 74.8 qps that 4 workers can serve light" in overload.reason


def test_no_cascade_is_a_plan_too():
    made = plan(FleetObservation(workers=workers(2), cascades={}))
    assert (made.placement, made.reason) == ({}, "no cascade is configured")


def test_draining_workers_get_nothing():
    observation = fleet(4, 4.0)
    draining = replace(observation.workers[1], is_draining=True)
    others = tuple(w for w in observation.workers if w.worker_id != "w01")
    made = plan(replace(observation, workers=(draining, *others)))
    assert sorted(made.placement) == ["w00", "w02", "w03"]
    assert "w01" not in made.workers


def test_lost_worker_moves_as_few_others_as_possible():
    first = plan(fleet(16, 16.0))
    lost = first.workers_on("heavy")[0]
    observation = fleet(16, 16.0)
    alive = tuple(w for w in observation.workers if w.worker_id != lost)
    second = plan(replace(observation, workers=alive), first)
    assert second.plan_id == 2
    assert lost not in second.placement
    assert count_switches(first.placement, second.placement) == 0


def test_placement_is_kept_while_a_better_one_gains_too_little():
    first = plan(fleet(16, 45.0))
    drifted = fleet(16, 32.0)
    kept, fresh = plan(drifted, first, gain_min=1.0), plan(drifted)
    assert (len(first.workers_on("light")), len(fresh.workers_on("light"))) == (3, 2)
    assert kept.placement == first.placement
    assert kept.reason.endswith(", placement kept")
    # The share that is sure to be carried costs nothing to change, so it follows the demand.
    assert kept.cascades["main"].expected_quality > first.cascades["main"].expected_quality
    moved = plan(drifted, first, gain_min=0.0)
    assert moved.cascades == fresh.cascades
    assert count_switches(first.placement, moved.placement) == 1


def test_placement_that_no_longer_carries_the_demand_is_changed():
    first = plan(fleet(16, 4.0))
    second = plan(fleet(16, 60.0), first, gain_min=1.0)
    assert len(second.workers_on("light")) > len(first.workers_on("light"))
    assert second.status == "optimal"


def test_noise_does_not_make_workers_flap():
    rng = random.Random(1)
    current, switches = plan(fleet(16, 20.0)), 0
    for _ in range(60):
        following = plan(fleet(16, 20.0 * rng.uniform(0.9, 1.1)), current)
        switches += count_switches(current.placement, following.placement)
        current = following
    assert switches <= 2


def test_unchanged_observation_gives_an_unchanged_plan():
    first = plan(fleet(16, 21.0))
    second = plan(fleet(16, 21.0), first)
    assert replace(second, plan_id=first.plan_id) == first


def test_burst_in_the_light_queue_is_drained_first():
    quiet = plan(fleet(16, 20.0))
    burst = plan(
        fleet(16, 20.0, light=QueueState(length=200, oldest_age_s=4.0, due_qps=40.0)), quiet
    )
    assert burst.cascades["main"].demand_qps == pytest.approx(20.0 + 40.0)
    assert burst.status == "optimal"
    assert burst.cascades["main"].deferral_fraction < quiet.cascades["main"].deferral_fraction
    after = plan(fleet(16, 20.0), burst)
    assert after.cascades["main"].expected_quality == pytest.approx(-16.79, abs=0.06)


def test_hopeless_heavy_queue_does_not_stop_the_heavy_stage():
    """As published, a queue older than the SLO is infeasible for ever: nothing would drain it."""
    stuck = QueueState(length=5000, oldest_age_s=900.0)
    made = plan(fleet(16, 16.0, heavy=stuck))
    assert made.status == "optimal"
    assert made.workers_on("heavy")
    assert made.cascades["main"].deferral_fraction > 0.3


def test_published_settings_are_available():
    made = plan(
        fleet(16, 8.0, heavy=QueueState(length=4)),
        objective=Objective.THRESHOLD,
        utilisation_max=1.0,
        deferral_cap_at_best=False,
        wait_model=WaitModel.LITTLE,
        drains_backlog=False,
    )
    assert made.cascades["main"].confidence_threshold == 1.0
    assert made.cascades["main"].deferral_fraction == 1.0


def test_threshold_objective_is_capped_at_the_best_quality():
    made = plan(fleet(16, 8.0), objective=Objective.THRESHOLD)
    assert made.cascades["main"].deferral_fraction == pytest.approx(0.596)


def two_cascades(num_workers: int, *, shares_heavy: bool = False) -> FleetObservation:
    other = Cascade(
        cascade_id="other",
        light="light-2",
        heavy="heavy" if shares_heavy else "heavy-2",
        discriminator="real-fake",
        slo_s=5.0,
    )
    return FleetObservation(
        workers=workers(num_workers),
        cascades={"other": observed(4.0, other), "main": observed(12.0)},
    )


def test_cascades_share_the_fleet_so_that_both_are_best():
    made = plan(two_cascades(16))
    sizes = {v: len(made.workers_on(v)) for v in ("light", "heavy", "light-2", "heavy-2")}
    assert sum(sizes.values()) == 16 and min(sizes.values()) >= 1
    assert sizes["heavy"] > sizes["heavy-2"]
    for share in made.cascades.values():
        assert share.expected_quality == pytest.approx(-16.79, abs=0.01)
    assert made.reason.startswith("main: demand 12.0 qps")
    assert "; other: demand 4.0 qps" in made.reason
    again = plan(two_cascades(16), made)
    assert again.placement == made.placement


@pytest.mark.parametrize("default_cascade", ["fast-medium", "fast-slow", "medium-slow"])
def test_an_idle_fleet_that_is_too_small_for_all_waits_for_the_default(default_cascade):
    pairs = [("fast", "medium"), ("fast", "slow"), ("medium", "slow")]
    idle = fleets.observed(
        *(fleets.seen(light, heavy, 0.0) for light, heavy in pairs),
        num_workers=1,
        classes=(),
        default_cascade=default_cascade,
    )
    made = plan(idle)
    assert list(made.placement.values()) == [default_cascade.split("-")[0]]


def two_classes(num_workers: int, *demands_qps: float) -> FleetObservation:
    """Observe two cascades, each of a class of its own, that have no variant in common."""
    other = fleets.seen("fast", "slow", demands_qps[1], name="other")
    return fleets.observed(
        fleets.seen("fast", "slow", demands_qps[0], name="main"),
        replace(other, cascade=replace(other.cascade, light="fast-2", heavy="slow-2")),
        num_workers=num_workers,
        classes=(),
        default_cascade="main",
    )


def test_an_idle_class_takes_no_worker_that_the_quality_of_another_hangs_on():
    made = plan(two_classes(2, 2.0, 0.0))
    assert sorted(made.placement.values()) == ["fast", "slow"]
    assert made.cascades["main"].deferral_fraction > 0.0
    assert "other: demand 0.0 qps, nothing is deferred; its workers come with" in made.reason
    # The default one is no exception, however little demand the other has.
    assert sorted(plan(two_classes(2, 0.0, 0.05)).placement.values()) == ["fast-2", "slow-2"]
    # With its first query it has demand, which goes before quality.
    assert {"fast", "fast-2"} <= set(plan(two_classes(2, 2.0, 0.01)).placement.values())


def test_an_idle_class_has_a_worker_where_others_can_do_without():
    assert "fast-2" in plan(two_classes(3, 1.0, 0.0)).placement.values()
    assert "fast-2" in plan(two_classes(16, 8.0, 0.0)).placement.values()


@pytest.mark.parametrize("demand_qps", [0.0, 1.0, 100.0])
def test_a_variant_is_placed_where_it_fits(demand_qps):
    small, large = (fleets.workers(2, kind) for kind in ("small", "large"))
    made = plan(
        fleets.observed(
            fleets.seen("fast", "slow", demand_qps),
            workers=(*small, *large),
            latency_by_device={"fast": {}, "slow": {}},
            variants={"slow": VariantFacts(base="slow", memory_bytes=50)},
            memory_by_device={"small": 10, "large": 100},
        )
    )
    assert {made.placement[w.worker_id] for w in small} == {"fast"}
    if demand_qps < 100.0:
        assert made.cascades["fast-slow"].deferral_fraction == 1.0


def test_a_variant_that_fits_nowhere_is_planned_all_the_same():
    """The worker that is told to hold it says why it cannot, and operators see it."""
    made = plan(
        fleets.observed(
            fleets.seen("fast", "slow", 1.0),
            workers=(*fleets.workers(2, "small"), *fleets.workers(2, "large")),
            latency_by_device={"fast": {}, "slow": {}},
            variants={"slow": VariantFacts(base="slow", memory_bytes=500)},
            memory_by_device={"small": 10, "large": 100},
        )
    )
    assert set(made.placement.values()) == {"fast", "slow"}


def test_without_a_solver_cascades_are_planned_apart(monkeypatch):
    monkeypatch.setattr(solver_module, "open_cbc", lambda: None)
    made = plan(two_cascades(16))
    sizes = {v: len(made.workers_on(v)) for v in ("light", "heavy", "light-2", "heavy-2")}
    assert sizes["light"] + sizes["heavy"] == 12
    assert sizes["light-2"] + sizes["heavy-2"] == 4
    assert (made.solver, made.status) == ("enumeration", "optimal")
    assert set(made.prices) == set(sizes)


def test_without_a_solver_a_class_gets_its_best_cascade(monkeypatch):
    monkeypatch.setattr(solver_module, "open_cbc", lambda: None)
    both = two_cascades(16, shares_heavy=True)
    both = replace(both, classes=(RequestClass(class_id="x", cascade_ids=("main", "other")),))
    made = plan(both)
    assert sorted(c.class_share for c in made.cascades.values()) == [0.0, 1.0]
    assert sum(c.demand_qps for c in made.cascades.values()) == pytest.approx(16.0)
    busy = replace(
        both, cascades={k: replace(c, demand_qps=900.0) for k, c in both.cascades.items()}
    )
    made = plan(busy)
    assert made.status == "infeasible"
    assert sorted(c.class_share for c in made.cascades.values()) == [0.0, 1.0]


def test_shared_variant_adds_workers_and_takes_the_smaller_batch():
    made = plan(two_cascades(16, shares_heavy=True))
    assert set(made.placement.values()) == {"light", "light-2", "heavy"}
    assert len(made.placement) == 16


def test_worst_solve_is_named(monkeypatch):
    class Broken:
        name = "broken"

        def solve(
            self, program: MixedIntegerProgram, time_limit_s: float | None = None
        ) -> ProgramSolution:
            raise BackendError("broken")

    monkeypatch.setattr(solver_module, "open_cbc", lambda: None)
    made = plan(fleet(16, 16.0), solver=Broken())
    assert (made.solver, made.status) == ("enumeration", "error")
    assert made.placement == plan(fleet(16, 16.0)).placement


@settings(max_examples=60, deadline=None)
@given(
    num_workers=st.integers(0, 20),
    demands=st.lists(st.floats(0.0, 300.0), min_size=1, max_size=4),
    length=st.integers(0, 1000),
    age_s=st.floats(0.0, 100.0),
    due_qps=st.floats(0.0, 1000.0),
    objective=st.sampled_from(list(Objective)),
)
def test_any_observation_has_a_complete_plan(
    num_workers, demands, length, age_s, due_qps, objective
):
    queue, current = QueueState(length=length, oldest_age_s=age_s, due_qps=due_qps), None
    for demand_qps in demands:
        current = plan(
            fleet(num_workers, demand_qps, light=queue, heavy=queue), current, objective=objective
        )
        assert len(current.placement) == num_workers
        assert all(size >= 1 for size in current.batch_size_max.values())
        assert 0.0 <= current.cascades["main"].deferral_fraction <= 1.0
        if num_workers:
            assert current.workers_on("light")
        if current.cascades["main"].deferral_fraction > 0.0:
            assert current.workers_on("heavy")


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("share", [0.0, 0.35, 1.0])
def test_a_pinned_share_is_the_only_one(share, objective):
    seen = replace(observed(4.0), pinned_share=share)
    observation = FleetObservation(workers=workers(16), cascades={"main": seen})
    made = plan(observation, objective=objective)
    (cascade,) = made.cascades.values()
    assert (cascade.deferral_fraction, cascade.deferral_target) == (share, share)
    assert cascade.is_pinned
    assert cascade.slo_s == CASCADE.slo_s
    assert bool(made.workers_on("heavy")) == (share > 0.0)


def test_a_share_stays_pinned_where_no_solver_answers(monkeypatch):
    monkeypatch.setattr("diffserve.planning.planner.with_backup", lambda solver: [])
    seen = replace(observed(4.0), pinned_share=0.35)
    observation = FleetObservation(workers=workers(16), cascades={"main": seen})
    (cascade,) = plan(observation).cascades.values()
    assert (cascade.deferral_target, cascade.is_pinned) == (0.35, True)


def test_plans_tell_the_slo_that_they_were_made_for():
    observation = fleet(8, 4.0)
    assert plan(observation).cascades["main"].slo_s == CASCADE.slo_s


def capped(deferral_max: float, demand_qps: float = 4.0, **changes: Any) -> FleetObservation:
    idle = fleet(16, demand_qps)
    seen = replace(idle.cascades["main"], **changes)
    seen = replace(seen, cascade=replace(seen.cascade, deferral_max=deferral_max))
    return replace(idle, cascades={"main": seen})


@pytest.mark.parametrize("parks_spare", [False, True], ids=["alone", "jointly"])
def test_an_idle_planner_aims_at_no_more_than_the_cap(parks_spare: bool) -> None:
    free = plan(capped(1.0), parks_spare=parks_spare)
    assert free.cascades["main"].deferral_target > 0.5
    assert "deferral_max" not in free.reason
    made = plan(capped(0.24), parks_spare=parks_spare)
    assert made.cascades["main"].deferral_fraction == pytest.approx(0.24)
    assert made.cascades["main"].deferral_target == pytest.approx(0.24)
    assert not made.cascades["main"].is_pinned
    assert made.reason.endswith("; deferral_max keeps main at no more than 24 %")
    never = plan(capped(0.0), parks_spare=parks_spare)
    assert never.cascades["main"].deferral_target == 0.0


def test_a_cap_out_of_reach_changes_nothing() -> None:
    busy, free = plan(capped(0.9, 60.0)), plan(capped(1.0, 60.0))
    assert free.cascades["main"].deferral_target < 0.9
    assert busy == free


def test_an_operators_pin_goes_beyond_the_cap() -> None:
    made = plan(capped(0.24, pinned_share=0.5))
    assert made.cascades["main"].deferral_target == 0.5
    assert "deferral_max" not in made.reason


def test_the_cap_holds_for_several_cascades_of_a_class() -> None:
    one, other = (
        replace(observed(2.0), cascade=replace(CASCADE, cascade_id=c, deferral_max=0.2))
        for c in ("one", "other")
    )
    both = RequestClass(class_id="both", cascade_ids=("one", "other"))
    seen = FleetObservation(
        workers=workers(8), cascades={"one": one, "other": other}, classes=(both,)
    )
    targets = [c.deferral_target for c in plan(seen).cascades.values() if c.class_share > 0.0]
    assert targets and max(targets) == pytest.approx(0.2)
