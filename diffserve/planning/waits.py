"""Expected queue waits for the latency constraint, capped so that a burst cannot stop planning."""

from __future__ import annotations

import dataclasses
import enum

from diffserve.planning.allocation import allocate
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.observation import QueueState
from diffserve.planning.problem import Allocation, CascadeProblem
from diffserve.policy.waiting import deferral_scv, expected_wait_s, little_wait_s


class WaitModel(enum.StrEnum):
    """How the planner predicts waits."""

    QUEUEING = "queueing"
    """G/G/c at the planned load, or the time to drain what waits now, whichever is longer."""
    LITTLE = "little"
    """Queue length over arrival rate. Paper: §3.3."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WaitEstimate:
    """Expected seconds in the two queues."""

    light_s: float = 0.0
    heavy_s: float = 0.0


def estimate_waits(
    problem: CascadeProblem,
    light_queue: QueueState,
    heavy_queue: QueueState,
    *,
    model: WaitModel,
    deferral_fraction: float,
    share_max: float,
) -> WaitEstimate:
    """Predict the waits that a plan for ``problem`` must allow for. Pure.

    Under load the queueing model depends on the plan, and the plan on it. One round settles it:
    waits are those of the best plan without waits. Nothing is carried over from earlier periods, so
    the estimate cannot oscillate.

    Args:
        problem: With waits of 0.
        light_queue: Measured now.
        heavy_queue: Measured now.
        model: See ``WaitModel``.
        deferral_fraction: In force now; gives the arrival rate at the heavy queue.
        share_max: Largest share of the free budget that waits may claim; see ``_capped``.
    """
    if model is WaitModel.LITTLE:
        waits = WaitEstimate(
            light_s=little_wait_s(light_queue.length, problem.demand_qps),
            heavy_s=little_wait_s(heavy_queue.length, problem.demand_qps * deferral_fraction),
        )
    else:
        choice = EnumerationSolver().best_choice(problem)
        if choice is None:
            return WaitEstimate()
        allocation = allocate(problem, choice)
        waits = WaitEstimate(
            light_s=_light_wait_s(problem, allocation, light_queue),
            heavy_s=_heavy_wait_s(problem, allocation, heavy_queue),
        )
    return _capped(problem, waits, share_max)


def _light_wait_s(problem: CascadeProblem, allocation: Allocation, queue: QueueState) -> float:
    workers, batch_size = allocation.light_workers, allocation.light_batch_size
    steady_s = expected_wait_s(
        arrival_qps=problem.demand_qps,
        num_workers=workers,
        batch_size=batch_size,
        execution_s=problem.light.execution_s(batch_size),
    )
    return max(steady_s, _backlog_s(queue, workers * problem.light.throughput_qps(batch_size)))


def _heavy_wait_s(problem: CascadeProblem, allocation: Allocation, queue: QueueState) -> float:
    workers, batch_size = allocation.heavy_workers, allocation.heavy_batch_size
    if workers == 0:
        return 0.0
    steady_s = expected_wait_s(
        arrival_qps=problem.demand_qps * allocation.deferral_fraction,
        num_workers=workers,
        batch_size=batch_size,
        execution_s=problem.heavy.execution_s(batch_size),
        arrival_scv=deferral_scv(allocation.deferral_fraction, allocation.light_batch_size),
    )
    return max(steady_s, _backlog_s(queue, workers * problem.heavy.throughput_qps(batch_size)))


def _backlog_s(queue: QueueState, throughput_qps: float) -> float:
    """Time to drain the queue; never less than its oldest query has already waited."""
    if queue.length == 0:
        return 0.0
    return max(queue.oldest_age_s, little_wait_s(queue.length, throughput_qps))


def _capped(problem: CascadeProblem, waits: WaitEstimate, share_max: float) -> WaitEstimate:
    """Scale the waits down to a share of what batches of 1 leave of the SLO.

    A burst longer than the SLO would otherwise make every plan infeasible, and a heavy stage that
    is never planned never drains its queue. Late deferrals end as light images (anytime delivery),
    so an optimistic wait costs quality for a moment, not deadlines.
    """
    light_only_s = max(0.0, problem.slo_s - problem.light.execution_s(1))
    both_s = light_only_s - problem.heavy.execution_s(1)
    budget_s = share_max * (both_s if both_s > 0.0 else light_only_s)
    light_s, heavy_s = min(waits.light_s, budget_s), min(waits.heavy_s, budget_s)
    total_s = light_s + heavy_s
    if total_s <= budget_s:
        return WaitEstimate(light_s=light_s, heavy_s=heavy_s)
    scale = budget_s / total_s
    return WaitEstimate(light_s=light_s * scale, heavy_s=heavy_s * scale)
