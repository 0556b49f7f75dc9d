"""Systems with one part exchanged, to see what that part is worth.

Ours are ``live_system`` with a part exchanged at its public seams; the live code knows nothing of
it. What is a setting of the services (objective, utilisation, planning period) needs no entry here.
Two more are baselines as the DiffServe artifact ships them, where ours follow the paper's text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from diffserve.core import Outcome, Plan, WorkerInfo
from diffserve.policy.actions import Action, Finish
from diffserve.sim.baselines.fifo_router import FifoRouter
from diffserve.sim.baselines.fixed import FixedController, clipper_roles, static_roles
from diffserve.sim.baselines.published import PublishedController
from diffserve.sim.ours import live_system
from diffserve.sim.system import Controller, Router, System, Telemetry

if TYPE_CHECKING:
    from diffserve.sim.policies import Setting

ARTIFACT_DROP_S = 22.5
"""1.5 times the 15 s of the artifact's client."""


class WithoutFallback:
    """A router that throws light images away once their queries are deferred, as published.

    Everything is the wrapped router's but for the outcomes in the actions that it returns.
    """

    def __init__(self, router: Router) -> None:
        self._router = router

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._router, name)
        return partial(_discarding_call, attribute) if callable(attribute) else attribute


def _discarding_call(method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    answer = method(*arguments, **named)
    return _discarding(answer) if isinstance(answer, list) else answer


def _discarding(actions: list[Action]) -> list[Action]:
    return [
        replace(action, outcome=Outcome.EXPIRED)
        if isinstance(action, Finish) and action.outcome is Outcome.LIGHT_FALLBACK
        else action
        for action in actions
    ]


class SureShare:
    """A controller that lets routers defer what the plan is sure to carry, and no more."""

    def __init__(self, controller: Controller) -> None:
        self.report_period_s = controller.report_period_s
        self.planning_period_s = controller.planning_period_s
        self._controller = controller

    def observe(self, telemetry: Telemetry) -> None:
        """Take in a report."""
        self._controller.observe(telemetry)

    def plan(self, workers: tuple[WorkerInfo, ...], plan_id: int) -> Plan:
        """Return the plan with its target lowered to its sure share."""
        plan = self._controller.plan(workers, plan_id)
        cascades = {
            name: replace(cascade, deferral_target=cascade.deferral_fraction)
            for name, cascade in plan.cascades.items()
        }
        return replace(plan, cascades=cascades)


def _ours(setting: Setting) -> System:
    return live_system(
        setting.catalog, setting.cascade, setting.num_workers, settings=setting.settings
    )


def _no_fallback(setting: Setting) -> System:
    system = _ours(setting)
    return replace(system, router=cast(Router, WithoutFallback(system.router)))


def _sure_share(setting: Setting) -> System:
    system = _ours(setting)
    return replace(system, controller=SureShare(system.controller))


def _plan_once(setting: Setting) -> System:
    """Our data path with the one plan of DiffServe-Static."""
    roles = static_roles(setting.catalog, setting.cascade, setting.num_workers, setting.peak_qps)
    controller = FixedController(setting.catalog, setting.cascade, roles)
    return replace(_ours(setting), controller=controller)


def _published_dispatch(setting: Setting) -> System:
    """Our plans with the published data path: random workers, FIFO queues, the drop rule."""
    router = FifoRouter(setting.cascade, setting.catalog.latency, setting.seed)
    return replace(_ours(setting), router=router, telemetry=router.telemetry)


def _published_late_drop(setting: Setting) -> System:
    """The artifact's client has an SLO of 15 s for every cascade, so its drop rule is at 22.5 s."""
    router = FifoRouter(
        setting.cascade,
        setting.catalog.latency,
        setting.seed,
        drop_factor=ARTIFACT_DROP_S / setting.cascade.slo_s,
    )
    return System(
        router=router,
        controller=PublishedController(setting.catalog, setting.cascade),
        telemetry=router.telemetry,
        scores_on_device=True,
    )


def _clipper_heavy_batch_1(setting: Setting) -> System:
    """The artifact runs Clipper without batches."""
    roles = clipper_roles(setting.catalog, setting.cascade, setting.num_workers, heavy=True)
    roles = replace(roles, heavy_batch_size=1)
    router = FifoRouter(setting.cascade, setting.catalog.latency, setting.seed, drop_factor=1.0)
    return System(
        router=router,
        controller=FixedController(setting.catalog, setting.cascade, roles),
        telemetry=router.telemetry,
        scores_on_device=True,
    )


ABLATIONS: Mapping[str, Callable[[Setting], System]] = {
    "diffserve-no-fallback": _no_fallback,
    "diffserve-sure-share": _sure_share,
    "diffserve-plan-once": _plan_once,
    "diffserve-published-dispatch": _published_dispatch,
    "diffserve-paper-late-drop": _published_late_drop,
    "clipper-heavy-batch-1": _clipper_heavy_batch_1,
}
"""Systems by name, next to ``sim.policies.POLICIES``."""
