"""Serving systems by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from diffserve.catalog import Catalog
from diffserve.core import Cascade
from diffserve.errors import ConfigError
from diffserve.sim.ablations import ABLATIONS
from diffserve.sim.baselines.fifo_router import FifoRouter
from diffserve.sim.baselines.fixed import FixedController, clipper_roles, static_roles
from diffserve.sim.baselines.hadis import HadisController
from diffserve.sim.baselines.hadis_router import HadisRouter
from diffserve.sim.baselines.proteus import ProteusController
from diffserve.sim.baselines.published import PublishedController, Roles
from diffserve.sim.ours import live_system, served_cascades
from diffserve.sim.settings import LiveSettings
from diffserve.sim.system import Controller, System


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a system is made for.

    Attributes:
        catalog: Profiles.
        cascade: What is served, with the SLO to meet.
        num_workers: Size of the fleet.
        peak_qps: Peak of the load, for systems provisioned for it.
        seed: Of random dispatch.
        settings: Of our services; the baselines bring their own constants.
        num_loadbalancers: How many of ours share the fleet.
        pins: ``cascade_id`` -> share deferred that an operator of ours fixed.
    """

    catalog: Catalog
    cascade: Cascade
    num_workers: int
    peak_qps: float
    seed: int
    settings: LiveSettings
    num_loadbalancers: int = 1
    pins: Mapping[str, float] = field(default_factory=dict)


def _diffserve(setting: Setting) -> System:
    return live_system(
        setting.catalog,
        setting.cascade,
        setting.num_workers,
        settings=setting.settings,
        num_loadbalancers=setting.num_loadbalancers,
        pins=setting.pins,
    )


def _random(setting: Setting) -> System:
    """Ours, deferring as many queries but whichever: what looking at images is worth."""
    return live_system(
        setting.catalog,
        setting.cascade,
        setting.num_workers,
        is_query_aware=False,
        settings=setting.settings,
    )


def _published(setting: Setting) -> System:
    return _fifo(setting, PublishedController(setting.catalog, setting.cascade))


def _clipper_light(setting: Setting) -> System:
    roles = clipper_roles(setting.catalog, setting.cascade, setting.num_workers, heavy=False)
    return _fixed(setting, roles)


def _clipper_heavy(setting: Setting) -> System:
    """A query that would end after its deadline is not run, as in the successor's port."""
    roles = clipper_roles(setting.catalog, setting.cascade, setting.num_workers, heavy=True)
    return _fixed(setting, roles, drop_factor=1.0)


def _static(setting: Setting) -> System:
    roles = static_roles(setting.catalog, setting.cascade, setting.num_workers, setting.peak_qps)
    return _fixed(setting, roles)


def _proteus(setting: Setting) -> System:
    controller = ProteusController(setting.catalog, setting.cascade)
    return _fifo(setting, controller, routes_directly=True)


def _hadis(setting: Setting) -> System:
    """The pairs of the class that is served; of one cascade, its router and its table."""
    catalog = setting.catalog
    cascades = {c.cascade_id: c for c in served_cascades(catalog, setting.cascade)}
    router = HadisRouter(cascades, catalog.latency, setting.seed)
    return System(
        router=router,
        controller=HadisController(catalog, tuple(cascades), setting.cascade.slo_s),
        telemetry=router.telemetry,
        scores_on_device=True,
    )


def _fixed(setting: Setting, roles: Roles, drop_factor: float = 1.5) -> System:
    controller = FixedController(setting.catalog, setting.cascade, roles)
    return _fifo(setting, controller, drop_factor=drop_factor)


def _fifo(
    setting: Setting,
    controller: Controller,
    *,
    drop_factor: float = 1.5,
    routes_directly: bool = False,
) -> System:
    """Return a system with the published data path, which scores on the light device."""
    router = FifoRouter(
        setting.cascade,
        setting.catalog.latency,
        setting.seed,
        drop_factor=drop_factor,
        routes_directly=routes_directly,
    )
    return System(
        router=router,
        controller=controller,
        telemetry=router.telemetry,
        is_query_aware=not routes_directly,
        scores_on_device=not routes_directly,
    )


POLICIES: Mapping[str, Callable[[Setting], System]] = {
    "diffserve": _diffserve,
    "diffserve-paper": _published,
    "diffserve-static": _static,
    "proteus": _proteus,
    "hadis": _hadis,
    "clipper-light": _clipper_light,
    "clipper-heavy": _clipper_heavy,
    "random": _random,
}
"""Every system; ``sim.ablations`` has variants of ours for experiments."""


def make_system(
    policy: str,
    catalog: Catalog,
    cascade: Cascade,
    *,
    num_workers: int,
    peak_qps: float,
    generator: np.random.Generator,
    settings: LiveSettings | None = None,
    num_loadbalancers: int = 1,
    pins: Mapping[str, float] | None = None,
) -> System:
    """Return a system by name, new and without plan.

    Raises:
        ConfigError: there is none of that name, or it has one load balancer only.
    """
    make = POLICIES.get(policy) or ABLATIONS.get(policy)
    if make is None:
        raise ConfigError(f"policy: {policy!r} is not one of {', '.join(POLICIES)}")
    if num_loadbalancers < 1 or (num_loadbalancers > 1 and policy != "diffserve"):
        raise ConfigError(
            f"load-balancers: {num_loadbalancers}; at least 1, and several with `diffserve` only"
        )
    seed = int(generator.integers(2**32))
    setting = Setting(
        catalog=catalog,
        cascade=cascade,
        num_workers=num_workers,
        peak_qps=peak_qps,
        seed=seed,
        settings=settings or LiveSettings.load(),
        num_loadbalancers=num_loadbalancers,
        pins=pins or {},
    )
    return make(setting)
