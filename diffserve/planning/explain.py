"""Why a plan is what it is, in one sentence for people."""

from __future__ import annotations

from collections.abc import Mapping

from diffserve.core import CascadePlan
from diffserve.planning.allocation import deferral_target, light_workers_needed
from diffserve.planning.observation import CascadeObservation, FleetObservation
from diffserve.planning.problem import CascadeProblem, SolveResult, SolveStatus

CAP_TOLERANCE = 1e-6
"""A share so close to the cap is at it: solvers round."""


def explain(problem: CascadeProblem, result: SolveResult, *, is_kept: bool = False) -> str:
    """Return the sentence, with the numbers that decided. Pure.

    Args:
        problem: What was asked.
        result: What was answered.
        is_kept: Another placement would gain too little to switch workers for.
    """
    if problem.num_workers == 0:
        return "no worker takes batches: none is alive, or all drain"
    if result.status is SolveStatus.INFEASIBLE:
        return _explain_fallback(problem, result)
    allocation = result.allocation
    text = (
        f"demand {problem.demand_qps:.1f} qps needs "
        f"{light_workers_needed(problem, allocation.light_batch_size)} of "
        f"{problem.num_workers} workers light; "
    )
    if allocation.deferral_fraction == 0.0:
        text += "nothing is deferred"
    else:
        text += (
            f"{allocation.heavy_workers} heavy hold {_heavy_capacity_qps(problem, result):.1f} qps "
            f"=> {allocation.deferral_fraction:.0%} deferred".replace("%", " %")
        )
        target = deferral_target(problem, allocation)
        if target > allocation.deferral_fraction:
            text += f", up to {100 * target:.0f} % while they keep up"
    return text + (", placement kept" if is_kept else "")


def explain_caps(observation: FleetObservation, cascades: Mapping[str, CascadePlan]) -> str:
    """Return which cascades aim at all that their cap allows; empty: none. Pure."""
    names = [
        f"{cascade_id} at no more than {100 * observation.cascades[cascade_id].heavy_share_max:g} %"
        for cascade_id, planned in sorted(cascades.items())
        if planned.class_share > 0.0 and _is_capped(observation.cascades[cascade_id], planned)
    ]
    return f"deferral_max keeps {', '.join(names)}" if names else ""


def _is_capped(seen: CascadeObservation, planned: CascadePlan) -> bool:
    limit = seen.deferral_limit(planned.bypass_fraction)
    return seen.heavy_share_max < 1.0 and planned.deferral_target >= limit - CAP_TOLERANCE


def _explain_fallback(problem: CascadeProblem, result: SolveResult) -> str:
    workers, batch_size = problem.num_workers, result.allocation.light_batch_size
    capacity_qps = problem.utilisation_max * workers * problem.light.throughput_qps(batch_size)
    if problem.demand_qps > capacity_qps:
        return (
            f"demand {problem.demand_qps:.1f} qps exceeds the {capacity_qps:.1f} qps that "
            f"{workers} worker{'s' * (workers > 1)} can serve light; nothing is deferred"
        )
    return (
        f"no batch sizes fit the SLO of {problem.slo_s:g} s with waits of "
        f"{problem.light_wait_s + problem.heavy_wait_s:.1f} s; nothing is deferred"
    )


def _heavy_capacity_qps(problem: CascadeProblem, result: SolveResult) -> float:
    allocation = result.allocation
    per_worker_qps = problem.heavy.throughput_qps(allocation.heavy_batch_size)
    return problem.utilisation_max * allocation.heavy_workers * per_worker_qps
