"""What the controller keeps in Redis so that its own restart changes nothing."""

from __future__ import annotations

import logging
from dataclasses import replace

from google.protobuf import json_format

from diffserve.core import Plan
from diffserve.errors import ConfigError
from diffserve.rpc import convert
from services.controller.overrides import Overrides
from services.controller.plans import message_from_document
from services.controller.state import ControllerState

logger = logging.getLogger(__name__)


class Persistence:
    """Restores the state once, then mirrors it every period.

    Everything is written again each time, not only what changed: a Redis that lost its data is
    whole again after one period.
    """

    def __init__(self, state: ControllerState) -> None:
        self._state = state
        self._is_restored = False
        self._restored_devices: set[str] = set()

    async def synchronise(self) -> None:
        """Restore what is not restored yet, read telemetry, write the mirror.

        Raises:
            STORE_ERRORS: Redis does not answer. Nothing is lost: the next call goes on from here.
        """
        if not self._is_restored:
            await self._restore()
            self._is_restored = True
        await self._restore_profiles()
        observer, store = self._state.observer, self._state.store
        observer.take_in(await store.read_reports())
        populations = observer.calibrations.populations
        observer.calibrations.take_in(await store.load_calibrations(populations))
        await self._mirror()

    async def _restore(self) -> None:
        """Read members, the pause switch and the plan in force, as an earlier process left them."""
        state = self._state
        workers = await state.store.load_workers()
        is_paused = await state.store.load_paused()
        overrides = _readable_overrides(await state.store.load_overrides())
        plan = _readable_plan(await state.store.load_plan())
        age_s = await state.store.plan_age_s(plan.plan_id) if plan else 0.0
        # Nothing changes before all is read, so that a Redis lost half-way costs only the attempt.
        state.membership.restore(workers)
        # Orders that came before Redis answered win.
        if not state.is_pause_ordered:
            state.is_paused = is_paused
        try:
            state.restore_overrides(overrides)
        except ConfigError:
            logger.exception("what was activated does not fit the catalog; starting without it")
            state.restore_overrides(replace(overrides, activation=None))
        if plan is not None:
            state.observer.seed_demand(plan)
            state.board.publish(plan, age_s)
            state.history.add(plan, age_s)
            logger.info("plan %d is in force again", plan.plan_id, extra={"plan_id": plan.plan_id})

    async def _restore_profiles(self) -> None:
        """Read what was measured on kinds of devices that are new in this process."""
        state = self._state
        kinds = {w.kind for w in state.membership.workers()}
        for kind in sorted(kinds - self._restored_devices):
            for variant_id in sorted(state.catalog.variants):
                seconds = await state.store.load_profile(kind, variant_id)
                state.latencies.restore(kind, variant_id, seconds)
            self._restored_devices.add(kind)

    async def _mirror(self) -> None:
        state = self._state
        await state.store.save_workers(state.membership.workers())
        await state.store.save_paused(state.is_paused)
        await state.store.save_overrides(state.overrides.to_json())
        profiles = state.latencies.unsaved()
        for key, seconds in profiles:
            await state.store.save_profile(key.device, key.variant_id, seconds)
        state.latencies.mark_saved(profiles)


def _readable_overrides(document: str | None) -> Overrides:
    try:
        return Overrides.from_json(document) if document else Overrides()
    except (ValueError, TypeError, AttributeError):
        logger.exception("what operators decided is unreadable in Redis; starting without")
        return Overrides()


def _readable_plan(document: str | None) -> Plan | None:
    if document is None:
        return None
    try:
        return convert.plan_from_proto(message_from_document(document))
    except json_format.ParseError:
        logger.exception("the plan in Redis is unreadable; starting without one")
        return None
