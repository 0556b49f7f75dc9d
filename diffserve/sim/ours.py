"""The ``diffserve`` system: the live load balancer's and controller's own objects."""

from __future__ import annotations

from diffserve.catalog import Catalog
from diffserve.config import ControllerSettings, LoadBalancerSettings, load_settings
from diffserve.core import Cascade, Plan, WorkerInfo
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.observation import CascadeObservation, FleetObservation, QueueState
from diffserve.planning.planner import PlannerParameters, make_plan
from diffserve.planning.problem import Objective
from diffserve.planning.solver import Solver
from diffserve.policy.balancer import Balancer, BalancerParameters
from diffserve.policy.demand import DemandParameters, DemandState
from diffserve.sim.system import System, Telemetry

QUERIES_PER_WORKER = 64
"""Live queues are bounded per load balancer; a large fleet would run several of these."""


class LiveController:
    """Calls the planner as ``services/controller`` does, with the settings it has by default."""

    def __init__(
        self, catalog: Catalog, cascade: Cascade, solver: Solver | EnumerationSolver
    ) -> None:
        settings = load_settings(ControllerSettings, environ={})
        reporting = load_settings(LoadBalancerSettings, environ={})
        self.report_period_s = reporting.telemetry_period_s
        self.planning_period_s = settings.planning_period_s
        self._catalog = catalog
        self._cascade = cascade
        self._solver = solver
        self._parameters = PlannerParameters(
            objective=Objective(settings.objective), utilisation_max=settings.utilisation_max
        )
        self._demand_parameters = DemandParameters(horizon_s=cascade.slo_s)
        self._demand = DemandState()
        self._latest: Telemetry | None = None
        self._counted: Telemetry | None = None
        self._previous: Plan | None = None

    def observe(self, telemetry: Telemetry) -> None:
        """Take in a report."""
        self._latest = telemetry
        if self._counted is None:
            self._counted = telemetry

    def plan(self, workers: tuple[WorkerInfo, ...], plan_id: int) -> Plan:
        """Count arrivals and plan for them."""
        self._count_arrivals()
        cascade_id = self._cascade.cascade_id
        seen = CascadeObservation(
            cascade=self._cascade,
            light=self._catalog.latency[self._cascade.light],
            heavy=self._catalog.latency[self._cascade.heavy],
            deferral=self._catalog.deferral[cascade_id],
            quality=self._catalog.quality[cascade_id],
            demand_qps=self._demand_parameters.demand_qps(self._demand),
        )
        observation = FleetObservation(
            workers=workers,
            cascades={cascade_id: seen},
            queues=self._latest.queues if self._latest else {},
        )
        self._previous = make_plan(
            observation, self._previous, self._parameters, self._solver, plan_id=plan_id
        )
        return self._previous

    def _count_arrivals(self) -> None:
        """Update the estimate, at most twice per period: a shorter interval is mostly noise."""
        latest, counted = self._latest, self._counted
        if latest is None or counted is None:
            return
        interval_s = latest.reported_s - counted.reported_s
        if interval_s < self.planning_period_s / 2.0:
            return
        arrivals = latest.num_arrivals - counted.num_arrivals
        self._demand = self._demand_parameters.observe(self._demand, arrivals, interval_s)
        self._counted = latest


def balancer_telemetry(balancer: Balancer, cascade_id: str, now_s: float) -> Telemetry:
    """Return what a load balancer reports of itself."""
    return Telemetry(
        reported_s=now_s,
        num_arrivals=balancer.num_arrivals(cascade_id),
        num_in_progress=balancer.num_in_progress(cascade_id),
        queues={
            pool.variant_id: QueueState(
                length=len(pool.queue), oldest_age_s=pool.queue.oldest_age_s(now_s)
            )
            for pool in balancer.pools()
        },
    )


def make_balancer(catalog: Catalog, cascade: Cascade, num_workers: int) -> Balancer:
    """Return a balancer with the live default limits, its queue bound scaled to the fleet."""
    settings = load_settings(LoadBalancerSettings, environ={})
    return Balancer(
        {cascade.cascade_id: cascade},
        {v: catalog.latency[v] for v in (cascade.light, cascade.heavy)},
        BalancerParameters(
            queue_length_max=max(settings.queue_length_max, QUERIES_PER_WORKER * num_workers),
            answer_margin_s=settings.answer_margin_s,
        ),
    )


def live_system(
    catalog: Catalog,
    cascade: Cascade,
    num_workers: int,
    *,
    solver: Solver | EnumerationSolver | None = None,
    is_query_aware: bool = True,
) -> System:
    """Return DiffServe as it runs live.

    Args:
        catalog: Profiles.
        cascade: What is served, with the SLO to meet.
        num_workers: Size of the fleet.
        solver: Default: exact enumeration, which gives the MILP's plans in a millisecond.
        is_query_aware: False for the control experiment that defers at random.
    """
    balancer = make_balancer(catalog, cascade, num_workers)
    return System(
        router=balancer,
        controller=LiveController(catalog, cascade, solver or EnumerationSolver()),
        telemetry=lambda now_s: balancer_telemetry(balancer, cascade.cascade_id, now_s),
        is_query_aware=is_query_aware,
    )
