"""What would be planned if: the live planner on a demand and a fleet that are not there."""

from __future__ import annotations

import asyncio
import itertools
import math
from dataclasses import dataclass, field, replace

from diffserve.catalog import class_of
from diffserve.core import Plan, WorkerInfo
from diffserve.errors import InputError, OverloadedError
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.planner import make_plan
from diffserve.planning.solver import Solver, choose_solver
from services.controller.control_loop import planner_parameters
from services.controller.state import ControllerState

NUM_WORKERS_MAX = 10_000
QPS_MAX = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """What to assume.

    Attributes:
        cascade_id: Cascade or request class that gets the demand; empty: the default.
        qps: Mean arrival rate; None: as estimated now.
        num_workers: None: those that are there.
    """

    cascade_id: str = ""
    qps: float | None = None
    num_workers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What would be planned.

    Attributes:
        plan: The plan; nobody follows it.
        qps: Mean arrival rate that was assumed, all cascades together.
        num_workers: Workers that were assumed.
    """

    plan: Plan
    qps: float
    num_workers: int


@dataclass(slots=True)
class WhatIf:
    """Answers one question at a time, with a solver of its own: solvers are not shared."""

    state: ControllerState
    _solver: Solver | EnumerationSolver | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, hypothesis: Hypothesis) -> Answer:
        """Return what would be planned; changes nothing.

        Raises:
            InputError: the hypothesis names an unknown cascade or an impossible number.
            OverloadedError: another question is being answered.
        """
        state = self.state
        class_id = class_named(state, hypothesis.cascade_id)
        _check(hypothesis)
        if self._lock.locked():
            raise OverloadedError(
                "another what-if is being answered", predicted_wait_s=1.0, retry_after_s=1.0
            )
        async with self._lock:
            workers = assumed_workers(state, hypothesis.num_workers)
            assumed = {} if hypothesis.qps is None else {class_id: hypothesis.qps}
            observation = state.observer.observe(workers, state.overrides, assumed)
            if self._solver is None:
                self._solver = choose_solver(state.settings.solver)
            began_s = state.clock()
            plan = await asyncio.to_thread(
                make_plan,
                *(observation, state.board.in_force, planner_parameters(state), self._solver),
                plan_id=0,
                time_limit_s=state.settings.solver_time_limit_s,
            )
        total_qps = sum(assumed.get(c, state.observer.mean_qps(c)) for c in state.catalog.classes)
        plan = replace(
            plan,
            solve_s=state.clock() - began_s,
            activation=state.overrides.activation_json(),
        )
        return Answer(plan=plan, qps=total_qps, num_workers=len(workers))


def class_named(state: ControllerState, name: str) -> str:
    """Return the request class that is meant by its own name or by one of its cascades'.

    Raises:
        InputError: there is none.
    """
    catalog = state.catalog
    name = name or catalog.default_cascade
    if name in catalog.classes:
        return name
    if name in catalog.cascades:
        return class_of(name, catalog.classes)
    known = ", ".join(sorted({*catalog.cascades, *catalog.classes}))
    raise InputError("cascade_id", f"no cascade {name!r}; there is {known}")


def assumed_workers(state: ControllerState, num_workers: int | None) -> tuple[WorkerInfo, ...]:
    """Return so many workers like those that are there, which come first."""
    there = [w for w in state.membership.workers() if not w.is_draining]
    if num_workers is None:
        return tuple(there)
    like = there or [WorkerInfo(worker_id="", address="", device="cpu")]
    further = (
        replace(worker, worker_id=f"assumed-{index:05d}", address="", resident=())
        for index, worker in enumerate(itertools.cycle(like))
    )
    return tuple(itertools.islice(itertools.chain(there, further), num_workers))


def _check(hypothesis: Hypothesis) -> None:
    qps, num_workers = hypothesis.qps, hypothesis.num_workers
    if qps is not None and not (math.isfinite(qps) and 0.0 <= qps <= QPS_MAX):
        raise InputError("qps", f"must be from 0 to {QPS_MAX:g}, not {qps}")
    if num_workers is not None and not 1 <= num_workers <= NUM_WORKERS_MAX:
        raise InputError("num_workers", f"must be from 1 to {NUM_WORKERS_MAX}, not {num_workers}")
