"""The plan in force and those who watch it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from google.protobuf import json_format

from diffserve.core import Plan
from diffserve.rpc import convert
from diffserve.rpc.v1 import controller_pb2


class PlanBoard:
    """Holds the plan in force. Watchers are woken, never waited for.

    A watcher asks for the newest plan that it has not sent yet, so a slow one skips versions and
    costs no memory, and any number of them costs one event per plan.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.in_force: Plan | None = None
        self._clock = clock
        self._made_s = 0.0
        self._changed = asyncio.Event()
        self._is_closed = False

    def publish(self, plan: Plan, age_s: float = 0.0) -> None:
        """Put a plan in force, made ``age_s`` seconds ago.

        Raises:
            ValueError: the plan is not newer than the one in force.
        """
        if self.in_force is not None and plan.plan_id <= self.in_force.plan_id:
            raise ValueError(f"plan {plan.plan_id} is not newer than {self.in_force.plan_id}")
        self.in_force = plan
        self._made_s = self._clock() - age_s
        self._wake()

    def message(self) -> controller_pb2.Plan | None:
        """Return the plan in force with its age as of now; None before the first."""
        if self.in_force is None:
            return None
        return convert.plan_to_proto(self.in_force, age_s=self._clock() - self._made_s)

    async def watch(self) -> AsyncIterator[controller_pb2.Plan]:
        """Yield the plan in force, then every newer plan that is newest when asked for."""
        sent_id = 0
        while not self._is_closed:
            changed = self._changed
            message = self.message()
            if message is not None and message.plan_id > sent_id:
                sent_id = message.plan_id
                yield message
            else:
                await changed.wait()

    def close(self) -> None:
        """End all watches, so that a server can stop without waiting for its clients."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def has_same_content(one: Plan, other: Plan) -> bool:
    """Whether two plans tell everybody to do the same.

    Demand and its shares, id and reasons may differ; so may what is shown to people of thresholds,
    which follow the newest confidences, and of quality.
    """
    return _content(one) == _content(other)


def _content(plan: Plan) -> Plan:
    cascades = {
        cascade_id: replace(cascade, demand_qps=0.0, confidence_threshold=0.0, expected_quality=0.0)
        for cascade_id, cascade in plan.cascades.items()
    }
    return replace(
        plan,
        plan_id=0,
        cascades=cascades,
        shares=dict.fromkeys(plan.shares, 1.0),
        solver="",
        status="",
        solve_s=0.0,
        reason="",
    )


def to_document(plan: Plan) -> str:
    """Return a plan as protobuf JSON, for Redis."""
    message = convert.plan_to_proto(plan)
    return json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None)


def message_from_document(document: str) -> controller_pb2.Plan:
    """Return the message behind ``to_document``; fields of a newer version are ignored.

    Raises:
        json_format.ParseError: it is no such document.
    """
    message = controller_pb2.Plan()
    json_format.Parse(document, message, ignore_unknown_fields=True)
    return message
