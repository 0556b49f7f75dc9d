"""A plan without a deployment: a catalog's profiles, a demand and a number of devices."""

from __future__ import annotations

import time
from dataclasses import replace

from diffserve.catalog import Catalog, class_of
from diffserve.core import WorkerInfo
from diffserve.errors import ConfigError
from diffserve.planning.gather import observe_fleet
from diffserve.planning.parameters import PlannerParameters
from diffserve.planning.planner import make_plan
from diffserve.planning.solver import choose_solver
from diffserve.policy.demand import DemandParameters, DemandState
from diffserve.rpc import convert
from diffserve.rpc.v1 import admin_pb2
from diffserve.sim.settings import LiveSettings


def plan_for(
    catalog: Catalog, cascade_id: str, qps: float, num_workers: int
) -> admin_pb2.WhatIfResponse:
    """Return what a controller with default settings would plan.

    Args:
        catalog: What is served, with its profiles.
        cascade_id: Cascade or request class that gets the demand; empty: the default.
        qps: Mean arrival rate; headroom for its dispersion is added as live.
        num_workers: Devices, all alike.

    Raises:
        ConfigError: there is no such cascade.
    """
    name = cascade_id or catalog.default_cascade
    if name not in catalog.classes and name not in catalog.cascades:
        known = ", ".join(sorted({*catalog.cascades, *catalog.classes}))
        raise ConfigError(f"cascade: no {name!r} in catalog {catalog.name}; there is {known}")
    class_id = name if name in catalog.classes else class_of(name, catalog.classes)
    cascade_ids = catalog.classes[class_id].cascade_ids
    horizon_s = catalog.cascades[cascade_ids[0]].slo_s
    demand = DemandParameters(horizon_s=horizon_s).demand_qps(
        DemandState(mean_qps=qps, num_periods=1)
    )
    workers = tuple(
        WorkerInfo(worker_id=f"assumed-{index:05d}", address="", device="cpu")
        for index in range(num_workers)
    )
    observation = observe_fleet(
        catalog,
        workers,
        cascades=[catalog.cascades[c] for c in cascade_ids],
        profile=lambda variant_id, kind: catalog.latency[variant_id],
        demand_qps={class_id: demand},
        queues={},
    )
    settings = LiveSettings.load().controller
    parameters = PlannerParameters(utilisation_max=settings.utilisation_max)
    began_s = time.perf_counter()
    plan = make_plan(observation, None, parameters, choose_solver(), plan_id=0)
    plan = replace(plan, solve_s=time.perf_counter() - began_s)
    return admin_pb2.WhatIfResponse(
        plan=convert.plan_to_proto(plan), qps=qps, num_workers=num_workers
    )
