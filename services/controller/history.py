"""The newest decisions, in memory: which plan was in force when."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from diffserve.core import Plan
from services.controller.plans import has_same_content

NUM_DECISIONS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Plans in a row that tell everybody to do the same.

    Attributes:
        first: The plan that decided it.
        last: The newest of them, with the newest figures.
        made_s: When the first was made.
        renewed_s: When the last was made.
        ended_s: When another decision took its place; None while it is in force.
    """

    first: Plan
    last: Plan
    made_s: float
    renewed_s: float
    ended_s: float | None = None


class PlanHistory:
    """Remembers the newest ``NUM_DECISIONS_MAX`` decisions of this process.

    Runs of equal plans are one decision, so that a quiet night does not push out what led to it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._decisions: deque[Decision] = deque(maxlen=NUM_DECISIONS_MAX)

    def add(self, plan: Plan, age_s: float = 0.0) -> None:
        """Take in a plan that was made ``age_s`` seconds ago and is in force now."""
        made_s = self._clock() - age_s
        if self._decisions:
            newest = self._decisions[-1]
            if has_same_content(newest.last, plan):
                self._decisions[-1] = replace(newest, last=plan, renewed_s=made_s)
                return
            self._decisions[-1] = replace(newest, ended_s=made_s)
        self._decisions.append(Decision(first=plan, last=plan, made_s=made_s, renewed_s=made_s))

    def newest(self, limit: int = 0) -> tuple[Decision, ...]:
        """Return decisions, newest first; 0: all."""
        return tuple(reversed(self._decisions))[: limit or None]

    def plan(self, plan_id: int) -> tuple[Plan, float] | None:
        """Return the first or last plan of a decision and its age in seconds, or None."""
        for decision in self._decisions:
            for plan, made_s in (
                (decision.first, decision.made_s),
                (decision.last, decision.renewed_s),
            ):
                if plan.plan_id == plan_id:
                    return plan, self._clock() - made_s
        return None
