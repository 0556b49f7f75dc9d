"""What this controller counts, and what it reads from its state when scraped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from diffserve.core import Plan
from diffserve.observability.instruments import Instruments, Sample

if TYPE_CHECKING:  # the state holds these metrics
    from services.controller.state import ControllerState


class ControllerMetrics:
    """Counted on the event loop.

    Attributes:
        instruments: Everything, for the scrape.
    """

    def __init__(self) -> None:
        self.instruments = Instruments("controller", self._read)
        self._state: ControllerState | None = None

    def follow(self, state: ControllerState) -> None:
        """Read this state from now on."""
        self._state = state

    def solved(self, plan: Plan) -> None:
        """Count a plan that was made, whether or not it is put in force."""
        self.instruments.observe("controller_solve_seconds", plan.solve_s, plan.solver, plan.status)

    def published(self) -> None:
        """Count a plan put in force."""
        self.instruments.count("controller_plans_total")

    def ordered(self, variant_id: str) -> None:
        """Count an assignment."""
        self.instruments.count("controller_swaps_ordered_total", variant_id)

    def _read(self) -> Iterator[Sample]:
        state = self._state
        if state is None:
            return
        observer = state.observer
        yield "controller_telemetry_age_seconds", (), observer.age_s
        yield "controller_redis_connected", (), float(observer.is_connected)
        yield "controller_planning_paused", (), float(state.is_paused)
        for class_id in state.catalog.classes:
            yield "controller_demand_qps", (class_id,), observer.mean_qps(class_id)
        for cascade_id in state.catalog.cascades:
            yield "controller_arrival_qps", (cascade_id,), observer.arrival_qps(cascade_id)
        workers = state.membership.workers()
        num_draining = sum(worker.is_draining for worker in workers)
        yield "controller_registered_workers", ("draining",), num_draining
        yield "controller_registered_workers", ("ready",), len(workers) - num_draining
        yield from _planned(state)


def _planned(state: ControllerState) -> Iterator[Sample]:
    """Yield what the plan in force says; a variant without workers has 0 of them."""
    plan = state.board.in_force
    yield "controller_plan_id", (), plan.plan_id if plan else 0
    placed = Counter(plan.placement.values()) if plan else Counter[str]()
    for variant_id in state.catalog.variants:
        yield "controller_workers", (variant_id,), placed[variant_id]
    for cascade_id in state.catalog.cascades:
        cascade = plan.cascades.get(cascade_id) if plan else None
        yield "controller_planned_qps", (cascade_id,), cascade.demand_qps if cascade else 0.0
        share = cascade.deferral_fraction if cascade else 0.0
        yield "controller_planned_deferral_ratio", (cascade_id,), share
