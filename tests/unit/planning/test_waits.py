from __future__ import annotations

import pytest

from diffserve.planning.observation import QueueState
from diffserve.planning.problem import CascadeProblem, Objective
from diffserve.planning.waits import WaitEstimate, WaitModel, estimate_waits
from tests.paper.cascades import paper_problem

EMPTY = QueueState()


def estimate(
    problem: CascadeProblem,
    light_queue: QueueState = EMPTY,
    heavy_queue: QueueState = EMPTY,
    model: WaitModel = WaitModel.QUEUEING,
    deferral_fraction: float = 0.5,
) -> WaitEstimate:
    return estimate_waits(
        problem,
        light_queue,
        heavy_queue,
        model=model,
        deferral_fraction=deferral_fraction,
        share_max=0.5,
    )


def problem(**changes: object) -> CascadeProblem:
    return paper_problem(objective=Objective.QUALITY, utilisation_max=0.9, **changes)


def test_little_is_queue_over_arrivals():
    waits = estimate(
        problem(demand_qps=10.0), QueueState(length=4), QueueState(length=3), WaitModel.LITTLE
    )
    assert waits.light_s == pytest.approx(0.4)
    assert waits.heavy_s == pytest.approx(0.6)


def test_little_without_arrivals_is_capped():
    waits = estimate(
        problem(), heavy_queue=QueueState(length=3), model=WaitModel.LITTLE, deferral_fraction=0.0
    )
    assert waits == WaitEstimate(heavy_s=pytest.approx(0.5 * (5.0 - 0.1 - 1.78)))


def test_loaded_pools_wait_and_idle_ones_do_not():
    idle, loaded = estimate(problem(demand_qps=0.0)), estimate(problem(demand_qps=20.0))
    assert idle == WaitEstimate()
    assert 0.0 < loaded.light_s < loaded.heavy_s < 1.56


def test_small_pools_wait_longer_at_the_same_load():
    small = estimate(problem(num_workers=3, demand_qps=3.0))
    large = estimate(problem(num_workers=30, demand_qps=30.0))
    assert small.heavy_s > large.heavy_s


def test_backlog_takes_the_time_to_drain_it():
    quiet = estimate(problem(demand_qps=4.0))
    backlog = estimate(problem(demand_qps=4.0), heavy_queue=QueueState(length=10))
    # 14 heavy workers at batch 1 draw 7.9 qps.
    assert backlog.heavy_s == pytest.approx(10 * 1.78 / 14)
    assert backlog.heavy_s > quiet.heavy_s


def test_oldest_query_is_a_lower_bound():
    waits = estimate(problem(demand_qps=4.0), QueueState(length=1, oldest_age_s=1.2))
    assert waits.light_s == pytest.approx(1.2)


def test_waits_together_leave_half_of_the_free_budget():
    for num_workers in (2, 16):
        waits = estimate(
            problem(num_workers=num_workers, demand_qps=2.0),
            QueueState(length=10_000, oldest_age_s=60.0),
            QueueState(length=10_000, oldest_age_s=60.0),
        )
        assert waits.light_s + waits.heavy_s == pytest.approx(0.5 * (5.0 - 0.1 - 1.78))


def test_budget_without_room_for_heavy_is_the_light_one():
    late = QueueState(length=10_000, oldest_age_s=60.0)
    waits = estimate(problem(slo_s=1.1, demand_qps=2.0), late, late)
    assert waits == WaitEstimate(light_s=pytest.approx(0.5))
    hopeless = estimate(problem(slo_s=0.05, demand_qps=2.0), late, late, WaitModel.LITTLE)
    assert hopeless == WaitEstimate()


def test_overload_has_no_waits_to_predict():
    assert estimate(problem(demand_qps=1e5), QueueState(length=9)) == WaitEstimate()
