from __future__ import annotations

from diffserve.core import Plan
from diffserve.planning.alone import batch_sizes, cascade_plan, decide, targets
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.parameters import PlannerParameters
from diffserve.planning.problem import SolveStatus
from tests.unit.planning.fleets import observed, seen


def decided(demand_qps: float, num_workers: int = 8, previous: Plan | None = None):
    cascade = seen("fast", "slow", demand_qps)
    observation = observed(cascade, num_workers=num_workers)
    return decide(
        *(observation, cascade, num_workers, previous, PlannerParameters()),
        *(EnumerationSolver(), None),
    )


def test_decision_names_workers_batches_and_shares():
    decision = decided(4.0)
    assert decision.result.status is SolveStatus.OPTIMAL and not decision.is_kept
    counts = targets([decision])
    assert sum(counts.values()) == 8 and list(counts) == ["fast", "slow"]
    assert batch_sizes([decision]) == {"fast": 4, "slow": 2}
    assert cascade_plan(decision).deferral_fraction == 1.0


def test_cascades_that_share_a_variant_share_its_limits():
    one, other = decided(4.0), decided(40.0, num_workers=4)
    counts = targets([one, other])
    assert sum(counts.values()) == 12
    sizes = batch_sizes([one, other])
    assert sizes["fast"] <= batch_sizes([one])["fast"]


def test_overload_is_served_light():
    decision = decided(1000.0)
    assert decision.result.status is SolveStatus.INFEASIBLE
    assert decision.allocation.heavy_workers == 0
