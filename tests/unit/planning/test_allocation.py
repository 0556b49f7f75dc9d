from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffserve.planning.allocation import (
    GRID_POINTS_MAX,
    BatchPair,
    DeferralPoint,
    PlanChoice,
    allocate,
    batch_caps,
    batch_pairs,
    deferral_grid,
    deferral_target,
    execution_s,
    fallback_allocation,
    heavy_workers_needed,
    light_workers_needed,
    needs_heavy_stage,
    response_s,
    spread_surplus,
)
from diffserve.planning.problem import Objective
from diffserve.profiles.curves import DeferralProfile
from diffserve.profiles.latency import LatencyProfile
from tests.paper.cascades import paper_problem

QUALITY = Objective.QUALITY


def test_grid_keeps_the_largest_threshold_of_equal_fractions():
    grid = deferral_grid(paper_problem())
    fractions = [point.fraction for point in grid]
    assert fractions == sorted(set(fractions))
    assert (grid[0].fraction, grid[0].threshold) == (0.0, 0.0)
    assert (grid[-1].fraction, grid[-1].threshold) == (1.0, 1.0)


def test_grid_values_follow_the_objective():
    by_threshold, by_quality = paper_problem(), paper_problem(objective=QUALITY)
    assert all(point.value == point.threshold for point in deferral_grid(by_threshold))
    for point in deferral_grid(by_quality):
        assert point.value == by_quality.quality.quality_at(point.fraction)


def test_grid_of_the_quality_objective_has_no_gaps():
    grid = deferral_grid(paper_problem(objective=QUALITY))
    published = {point.fraction for point in deferral_grid(paper_problem())}
    fractions = [point.fraction for point in grid]
    assert published <= set(fractions)
    gaps = [high - low for low, high in itertools.pairwise(fractions)]
    assert 0.0 < min(gaps) <= max(gaps) <= 0.021
    thresholds = [point.threshold for point in grid]
    assert thresholds == sorted(thresholds)


def test_grid_always_offers_to_defer_nothing():
    problem = paper_problem(deferral=DeferralProfile((0.2, 0.8), (0.3, 0.9)))
    assert [point.fraction for point in deferral_grid(problem)] == [0.0, 0.3, 0.9]
    assert deferral_grid(problem)[0].threshold == 0.0


def test_grid_stops_at_the_largest_fraction_allowed():
    grid = deferral_grid(paper_problem(deferral_fraction_max=0.6))
    assert grid[-1].fraction == pytest.approx(0.596)


def test_grid_of_a_fine_profile_is_thinned():
    points = tuple(i / 5000 for i in range(5001))
    grid = deferral_grid(paper_problem(deferral=DeferralProfile(points, points)))
    assert len(grid) == GRID_POINTS_MAX
    assert (grid[0].fraction, grid[-1].fraction) == (0.0, 1.0)


def test_pairs_are_ordered_by_execution_time_then_size():
    tied = {
        "light": LatencyProfile({1: 0.1, 2: 0.2, 4: 0.3}),
        "heavy": LatencyProfile({1: 1.0, 2: 1.1, 4: 1.2}),
    }
    pairs = batch_pairs(paper_problem(**tied))
    # In floating point 0.1 + 1.2, 0.2 + 1.1 and 0.3 + 1.0 are not equal.
    assert pairs[3:6] == (BatchPair(1, 4), BatchPair(2, 2), BatchPair(4, 1))


def test_pairs_that_miss_the_slo_are_not_offered():
    problem = paper_problem(light_wait_s=0.5, heavy_wait_s=0.25)
    pairs = batch_pairs(problem)
    assert {pair.heavy for pair in pairs} == {1, 2, 4}
    assert all(response_s(problem, pair) <= problem.slo_s for pair in pairs)
    assert BatchPair(8, 4) in pairs and BatchPair(16, 4) not in pairs


def test_deadline_met_exactly_counts_as_met():
    problem = paper_problem(slo_s=0.1 + 1.78 + 0.3 + 0.2, light_wait_s=0.3, heavy_wait_s=0.2)
    assert BatchPair(1, 1) in batch_pairs(problem)


def test_only_the_quality_objective_can_do_without_a_heavy_stage():
    paper, ours = (
        paper_problem(heavy_wait_s=9.0),
        paper_problem(heavy_wait_s=9.0, objective=QUALITY),
    )
    assert batch_pairs(paper) == ()
    assert {pair.heavy for pair in batch_pairs(ours)} == {0}
    assert needs_heavy_stage(paper, 0.0) and not needs_heavy_stage(ours, 0.0)
    assert needs_heavy_stage(ours, 0.1)
    assert execution_s(ours, BatchPair(2, 0)) == 0.15


def test_workers_needed_follow_the_throughput_constraint():
    problem = paper_problem(demand_qps=32.0, utilisation_max=0.9)
    # 32 / (0.9 * 4 / 0.22) = 1.96 and 0.469 * 32 / (0.9 * 4 / 3.68) = 15.3
    assert light_workers_needed(problem, 4) == 2
    assert heavy_workers_needed(problem, 4, 0.469) == 16


def test_rounding_does_not_cost_a_worker():
    problem = paper_problem(demand_qps=0.1 * 3 * 10)
    assert problem.demand_qps > 3.0
    third = LatencyProfile({1: 1.0})
    assert light_workers_needed(paper_problem(demand_qps=0.1 * 3 * 10, light=third), 1) == 3


def test_a_stage_in_use_has_a_worker_even_without_demand():
    idle = paper_problem(demand_qps=0.0)
    assert light_workers_needed(idle, 1) == 1
    assert heavy_workers_needed(idle, 1, 0.5) == 1
    assert heavy_workers_needed(idle, 1, 0.0) == 0
    assert heavy_workers_needed(idle, 0, 0.0) == 0


def choice(fraction: float, light: int = 1, heavy: int = 1) -> PlanChoice:
    return PlanChoice(DeferralPoint(fraction, 0.5, 1.0), BatchPair(light, heavy))


def test_surplus_evens_out_the_headroom():
    problem = paper_problem(demand_qps=4.0)
    light, heavy = spread_surplus(problem, choice(0.6))
    assert (light, heavy) == (2, 14)
    balanced = paper_problem(heavy=problem.light)
    assert spread_surplus(balanced, choice(1.0)) == (8, 8)


def test_surplus_goes_light_when_nothing_is_deferred():
    assert spread_surplus(paper_problem(objective=QUALITY), choice(0.0, 1, 0)) == (16, 0)


@settings(max_examples=60, deadline=None)
@given(
    num_workers=st.integers(1, 60),
    demand_qps=st.floats(0.0, 30.0),
    fraction=st.floats(0.01, 1.0),
)
def test_spread_uses_the_whole_fleet_and_starves_nobody(num_workers, demand_qps, fraction):
    problem = paper_problem(num_workers=num_workers, demand_qps=demand_qps)
    light_needed = light_workers_needed(problem, 1)
    heavy_needed = heavy_workers_needed(problem, 1, fraction)
    if light_needed + heavy_needed > num_workers:
        return
    light, heavy = spread_surplus(problem, choice(fraction))
    assert light + heavy == num_workers
    assert light >= light_needed and heavy >= heavy_needed
    # No pool got a surplus worker while the other had less headroom.
    headroom = [light * 10.0, heavy / 1.78 / fraction]
    if light > light_needed:
        assert headroom[0] - 10.0 <= headroom[1] + 1e-9
    if heavy > heavy_needed:
        assert headroom[1] - 1 / 1.78 / fraction <= headroom[0] + 1e-9


def test_allocation_shows_a_usable_heavy_batch_size_without_heavy_stage():
    allocation = allocate(paper_problem(objective=QUALITY), choice(0.0, 2, 0))
    assert (allocation.light_workers, allocation.light_batch_size) == (16, 2)
    assert (allocation.heavy_workers, allocation.heavy_batch_size) == (0, 1)


@pytest.mark.parametrize(
    ("light_wait_s", "batch_size"),
    [
        (0.0, 16),  # 20.8 qps per worker; 32 has 20.5
        (4.5, 8),
        (4.95, 1),  # nothing fits any more
        (float("inf"), 1),
    ],
)
def test_fallback_is_all_light_at_the_best_batch_in_time(light_wait_s, batch_size):
    allocation = fallback_allocation(paper_problem(light_wait_s=light_wait_s))
    assert (allocation.light_workers, allocation.heavy_workers) == (16, 0)
    assert allocation.light_batch_size == batch_size
    assert (allocation.deferral_fraction, allocation.value) == (0.0, 0.0)


def test_caps_are_the_most_productive_batches_that_fit_the_slo_together():
    problem = paper_problem(objective=QUALITY)
    # 3.68 s heavy leave room for light batches of up to 16; 8 heavy take 6.79 s.
    assert batch_caps(problem, allocate(problem, choice(0.5))) == BatchPair(16, 4)


def test_caps_without_heavy_stage_are_the_best_light_batch():
    problem = paper_problem(objective=QUALITY)
    only_light = allocate(problem, PlanChoice(DeferralPoint(0.0, 0.0, 0.0), BatchPair(1, 0)))
    assert batch_caps(problem, only_light).light == 16


def test_batches_that_do_not_pay_are_not_allowed():
    slower = LatencyProfile({1: 1.0, 2: 2.2, 4: 4.5})
    problem = paper_problem(objective=QUALITY, heavy=slower)
    assert batch_caps(problem, allocate(problem, choice(0.5))).heavy == 1


def test_published_objective_keeps_the_published_batches_and_share():
    problem = paper_problem()
    allocation = allocate(problem, choice(0.5, 2, 2))
    assert batch_caps(problem, allocation) == BatchPair(2, 2)
    assert deferral_target(problem, allocation) == 0.5


def test_target_is_the_best_share_but_no_multiple_of_what_is_planned():
    problem = paper_problem(objective=QUALITY)
    assert deferral_target(problem, allocate(problem, choice(0.3))) == 0.6
    assert deferral_target(problem, allocate(problem, choice(0.1))) == pytest.approx(0.3)
    assert deferral_target(problem, allocate(problem, choice(0.7))) == 0.7
    assert deferral_target(problem, fallback_allocation(problem)) == 0.0
