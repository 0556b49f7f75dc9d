"""The control loop: every period and on every change of membership, from telemetry to a plan."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Protocol

from diffserve.core import Plan
from diffserve.errors import BackendError
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.observation import FleetObservation
from diffserve.planning.planner import PlannerParameters, make_plan
from diffserve.planning.problem import Objective
from diffserve.planning.solver import Solver
from diffserve.telemetry.store import STORE_ERRORS
from services.controller.assignments import Assigner
from services.controller.persistence import Persistence
from services.controller.plans import has_same_content, to_document
from services.controller.state import ControllerState

logger = logging.getLogger(__name__)

DEBOUNCE_S = 0.05
"""Workers that start together join in one plan."""
TICK_S = 0.1
"""Longest that a running process goes without looking at its clock."""
RIVAL = "another controller plans by the same Redis"
STOP_TIMEOUT_S = 3.0
"""Longer than a round in which Redis does not answer."""
NUM_SOLVES_MAX = 8
"""Solver calls of one plan, each within its own limit."""
SOLVE_MARGIN_S = 5.0
"""Beyond the solver's own limits, how long a planner thread is waited for before it is left."""


class Planner(Protocol):
    """``planning.planner.make_plan``; tests hand in others."""

    def __call__(
        self,
        observation: FleetObservation,
        previous: Plan | None,
        parameters: PlannerParameters,
        solver: Solver | EnumerationSolver,
        *,
        plan_id: int,
        time_limit_s: float | None = None,
    ) -> Plan:
        """Return the next plan; pure but for the solver."""
        ...


def planner_parameters(state: ControllerState) -> PlannerParameters:
    """Return how this controller's settings have it plan."""
    return PlannerParameters(
        objective=Objective(state.settings.objective),
        utilisation_max=state.settings.utilisation_max,
    )


class ControlLoop:
    """Reads, plans, publishes; survives everything that goes wrong on the way.

    While Redis is gone the plan in force stays, whatever happens to membership: plan ids come from
    Redis, and load balancers notice dead workers by themselves. Leases go on being kept, so the
    first plan after Redis is back knows who is alive.
    """

    def __init__(self, state: ControllerState, planner: Planner = make_plan) -> None:
        self._state = state
        self._planner = planner
        self._parameters = planner_parameters(state)
        self._persistence = Persistence(state)
        self._assigner = Assigner(
            *(state.membership, state.clients),
            on_order=state.metrics.ordered,
            on_loaded=state.observer.loaded,
        )
        self._due_s = state.clock() + state.settings.planning_period_s
        self._solve: asyncio.Task[Plan] | None = None
        self._is_stopping = False
        self._running: asyncio.Task[None] | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._ticked_s = state.clock()
        self._taken_id = 0
        self._has_rival = False

    async def start(self) -> None:
        """Do one round, which restores what Redis knows; then go on in the background."""
        self._ticking = asyncio.create_task(self._tick_for_ever())
        await self.step(is_periodic=True)
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End after the round in progress; give up on one that does not end."""
        self._is_stopping = True
        self._state.membership.changed.set()
        if self._running is not None:
            # Cancelling at once could leave a plan saved but not published, or half a mirror.
            _, pending = await asyncio.wait({self._running}, timeout=STOP_TIMEOUT_S)
            for task in pending:
                task.cancel()
        if self._solve is not None:
            self._solve.cancel()
        if self._ticking is not None:
            self._ticking.cancel()
        await self._assigner.stop()

    async def _run(self) -> None:
        while True:
            is_periodic = await self._wait()
            if self._is_stopping:
                return
            await self.step(is_periodic=is_periodic)

    async def step(self, *, is_periodic: bool) -> None:
        """Do one round; never raises.

        Args:
            is_periodic: The period is over: publish even when only demand figures changed.
        """
        try:
            self._tick()
            self._state.membership.expire()
            # Every change up to here is in this round's plan.
            self._state.membership.changed.clear()
            if await self._synchronise() and not self._state.is_paused:
                await self._plan(is_periodic=is_periodic)
        except Exception:
            logger.exception("planning failed; the plan in force stays")
        try:
            await self._push_assignments()
        except Exception:
            logger.exception("assignments failed; trying again next period")

    async def _wait(self) -> bool:
        """Sleep until the period is over, a lease runs out or membership changes.

        Returns:
            Whether the period is over.
        """
        state = self._state
        began_s = state.clock()
        wake_s = max(began_s, min(self._due_s, state.membership.next_expiry_s()))
        try:
            async with asyncio.timeout(wake_s - began_s):
                await state.membership.changed.wait()
            await asyncio.sleep(DEBOUNCE_S)
        except TimeoutError:
            pass
        now_s = state.clock()
        if now_s < self._due_s:
            return False
        self._due_s = now_s + state.settings.planning_period_s
        return True

    async def _tick_for_ever(self) -> None:
        while True:
            self._tick()
            await asyncio.sleep(TICK_S)

    def _tick(self) -> None:
        """Lengthen all leases by the time that this process was stopped or starved, if it was.

        It heard no renewals meanwhile; that is not the workers' silence, and must not empty the
        placement. Looked for all the time: a process may be stopped in the middle of a round.
        """
        now_s = self._state.clock()
        unheard_s, self._ticked_s = now_s - self._ticked_s - TICK_S, now_s
        if unheard_s > TICK_S:
            self._state.membership.extend(unheard_s)

    async def _synchronise(self) -> bool:
        """Exchange state with Redis; return whether it answers."""
        try:
            await self._persistence.synchronise()
        except STORE_ERRORS as error:
            self._state.observer.lose_connection(error)
            return False
        return True

    async def _plan(self, *, is_periodic: bool) -> None:
        """Make a plan and put it in force, unless it says nothing new before its time."""
        state = self._state
        workers = state.membership.workers()
        is_young = state.clock() - state.started_s < state.settings.lease_s
        if not workers and is_young:
            # Nothing to restore from, and workers take up to a lease to find a new controller.
            return
        previous = state.board.in_force
        began_s = state.clock()
        # Orders that come while the solver runs are the next plan's.
        overrides, catalog = state.overrides, state.catalog
        plan = await self._solve_in_thread(state.observer.observe(workers, overrides), previous)
        plan = state.observer.balancers.with_leases(plan, previous)
        said = (
            *overrides.sentences(catalog),
            *state.observer.calibrations.warnings(),
        )
        reason = "; ".join((plan.reason, *said))
        plan = replace(
            plan,
            solve_s=state.clock() - began_s,
            reason=reason,
            activation=overrides.activation_json(),
        )
        state.metrics.solved(plan)
        if previous is not None and not is_periodic and has_same_content(plan, previous):
            return
        try:
            plan_id, rival = await self._take_id(previous)
            plan = replace(plan, plan_id=plan_id, reason="; ".join((plan.reason, *rival)))
            await state.store.save_plan(plan_id, to_document(plan))
        except STORE_ERRORS as error:
            # An id may have been taken all the same.
            self._taken_id = 0
            state.observer.lose_connection(error)
            return
        state.board.publish(plan)
        state.metrics.published()
        state.history.add(plan)
        is_news = previous is None or not has_same_content(plan, previous)
        logger.log(
            logging.INFO if is_news else logging.DEBUG,
            "plan %d: %s (%s, %s, %.3f s)",
            *(plan_id, plan.reason, plan.solver, plan.status, plan.solve_s),
            extra={"plan_id": plan_id},
        )

    async def _take_id(self, previous: Plan | None) -> tuple[int, tuple[str, ...]]:
        """Return the id of the next plan, and what to say where others take ids too.

        Raises:
            STORE_ERRORS: Redis does not answer.
        """
        known_id = max(previous.plan_id if previous else 0, self._state.observer.newest_plan_id)
        plan_id = await self._state.store.next_plan_id(known_id)
        # The first one, or the first that is answered again, may follow on any.
        has_rival, self._taken_id = self._taken_id not in (0, plan_id - 1), plan_id
        if has_rival and not self._has_rival:
            logger.warning("%s; only one may, and this one goes on", RIVAL)
        self._has_rival = has_rival
        return plan_id, (RIVAL,) if has_rival else ()

    async def _solve_in_thread(self, observation: FleetObservation, previous: Plan | None) -> Plan:
        """Run the planner beside the event loop.

        Raises:
            BackendError: it does not come back. The thread cannot be stopped, so no second one is
                started while it lasts.
        """
        if self._solve is not None and not self._solve.done():
            raise BackendError("the planner of an earlier period still runs")
        limit_s = self._state.settings.solver_time_limit_s
        self._solve = asyncio.create_task(
            asyncio.to_thread(
                self._planner,
                *(observation, previous, self._parameters, self._state.solver),
                plan_id=0,
                time_limit_s=limit_s,
            )
        )
        # Several programs may be solved one after the other, each by the solver or its backup.
        patience_s = NUM_SOLVES_MAX * limit_s + SOLVE_MARGIN_S
        done, _ = await asyncio.wait({self._solve}, timeout=patience_s)
        if not done:
            raise BackendError(f"the planner did not answer within {patience_s:.0f} s")
        return self._solve.result()

    async def _push_assignments(self) -> None:
        state = self._state
        workers = state.membership.workers()
        state.latencies.keep_workers(w.worker_id for w in workers)
        if state.board.in_force is not None:
            self._assigner.push(state.board.in_force)
        await state.clients.keep({w.address for w in workers})
