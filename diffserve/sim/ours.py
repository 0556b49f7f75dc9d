"""The ``diffserve`` system: the live load balancer's and controller's own objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from diffserve.catalog import Catalog, class_of
from diffserve.config import LoadBalancerSettings
from diffserve.core import Cascade, Plan, WorkerInfo
from diffserve.planning.bruteforce import EnumerationSolver
from diffserve.planning.gather import observe_fleet
from diffserve.planning.observation import QueueState
from diffserve.planning.planner import PlannerParameters, make_plan
from diffserve.planning.problem import Objective
from diffserve.planning.solver import Solver
from diffserve.policy.balancer import Balancer
from diffserve.policy.demand import DemandParameters, DemandState
from diffserve.policy.leases import ArrivalShares, with_leases
from diffserve.policy.parameters import BalancerParameters
from diffserve.profiles.latency import LatencyProfile
from diffserve.sim.settings import LiveSettings
from diffserve.sim.several import Balancers, added_up, name_of
from diffserve.sim.system import System, Telemetry

QUERIES_PER_WORKER = 64
"""Live queues are bounded per load balancer; a large fleet would run several of these."""


class LiveController:
    """Calls the planner as ``services/controller`` does."""

    def __init__(
        self,
        catalog: Catalog,
        cascade: Cascade,
        solver: Solver | EnumerationSolver,
        settings: LiveSettings,
        pins: Mapping[str, float] | None = None,
    ) -> None:
        self.report_period_s = settings.loadbalancer.telemetry_period_s
        self.planning_period_s = settings.controller.planning_period_s
        self._catalog = catalog
        self._cascades = served_cascades(catalog, cascade)
        self._class_id = class_of(cascade.cascade_id, catalog.classes)
        self._solver = solver
        self._pins = pins
        self._parameters = PlannerParameters(
            objective=Objective(settings.controller.objective),
            utilisation_max=settings.controller.utilisation_max,
        )
        self._demand_parameters = DemandParameters(horizon_s=cascade.slo_s)
        self._demand = DemandState()
        self._shares = ArrivalShares()
        self._latest: Telemetry | None = None
        self._counted: Telemetry | None = None
        self._previous: Plan | None = None

    def observe(self, telemetry: Telemetry) -> None:
        """Take in a report."""
        self._latest = telemetry
        if self._counted is None:
            self._counted = telemetry
            self._shares.observe(telemetry.by_loadbalancer)

    def plan(self, workers: tuple[WorkerInfo, ...], plan_id: int) -> Plan:
        """Count arrivals and plan for them."""
        self._count_arrivals()
        observation = observe_fleet(
            self._catalog,
            workers,
            cascades=self._cascades,
            profile=self._profile,
            demand_qps={self._class_id: self._demand_parameters.demand_qps(self._demand)},
            queues=self._latest.queues if self._latest else {},
            ranks_prompts=True,
            pins=self._pins,
        )
        plan = make_plan(
            observation, self._previous, self._parameters, self._solver, plan_id=plan_id
        )
        self._previous = with_leases(plan, self._previous, self._shares.shares())
        return self._previous

    def _profile(self, variant_id: str, kind: str) -> LatencyProfile:
        by_type = self._catalog.latency_by_device.get(variant_id, {})
        return by_type.get(kind, self._catalog.latency[variant_id])

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
        self._shares.observe(latest.by_loadbalancer)


def balancer_telemetry(balancer: Balancer, cascade_ids: Iterable[str], now_s: float) -> Telemetry:
    """Return what a load balancer reports of itself and the cascades of one class."""
    ledger = balancer.ledger
    arrivals = {cascade_id: ledger.num_arrivals(cascade_id) for cascade_id in cascade_ids}
    return Telemetry(
        reported_s=now_s,
        num_arrivals=sum(arrivals.values()),
        num_in_progress=sum(ledger.num_in_progress(cascade_id) for cascade_id in arrivals),
        queues={
            variant_id: QueueState(
                length=queue.length, oldest_age_s=queue.oldest_age_s, due_qps=queue.due_qps
            )
            for variant_id, queue in balancer.queues(now_s).items()
        },
        arrivals=arrivals,
    )


def served_cascades(catalog: Catalog, cascade: Cascade) -> tuple[Cascade, ...]:
    """Return what a run serves: the class that the catalog's default names, or one cascade.

    Args:
        catalog: Its ``default_cascade`` may be a class that has ``cascade``.
        cascade: Gives the SLO to all of the class.
    """
    named = catalog.classes.get(catalog.default_cascade)
    if catalog.default_cascade in catalog.cascades or named is None:
        return (cascade,)
    return tuple(replace(catalog.cascades[c], slo_s=cascade.slo_s) for c in named.cascade_ids)


def make_balancer(
    catalog: Catalog,
    cascade: Cascade,
    num_workers: int,
    settings: LoadBalancerSettings,
    loadbalancer_id: str = "",
) -> Balancer:
    """Return a balancer with the live limits, its queue bound scaled to the fleet."""
    cascades = served_cascades(catalog, cascade)
    return Balancer(
        {c.cascade_id: c for c in cascades},
        {v: catalog.latency[v] for c in cascades for v in (c.light, c.heavy)},
        BalancerParameters(
            queue_length_max=max(settings.queue_length_max, QUERIES_PER_WORKER * num_workers),
            answer_margin_s=settings.answer_margin_s,
            shadow_share=settings.shadow_share,
        ),
        quality={c.cascade_id: catalog.quality[c.cascade_id] for c in cascades},
        classes=catalog.classes,
        devices=catalog.latency_by_device,
        loadbalancer_id=loadbalancer_id,
    )


def live_system(
    catalog: Catalog,
    cascade: Cascade,
    num_workers: int,
    *,
    solver: Solver | EnumerationSolver | None = None,
    is_query_aware: bool = True,
    settings: LiveSettings | None = None,
    num_loadbalancers: int = 1,
    pins: Mapping[str, float] | None = None,
) -> System:
    """Return DiffServe as it runs live.

    Args:
        catalog: Profiles.
        cascade: What is served, with the SLO to meet; if the catalog's default is a class, all of
            that class is.
        num_workers: Size of the fleet.
        solver: Default: exact enumeration, which gives the MILP's plans in a millisecond.
        is_query_aware: False for the control experiment that defers at random.
        settings: Of the services; default: theirs.
        num_loadbalancers: How many share the fleet.
        pins: ``cascade_id`` -> share deferred that an operator fixed.
    """
    settings = settings or LiveSettings.load()
    cascade_ids = [c.cascade_id for c in served_cascades(catalog, cascade)]
    controller = LiveController(catalog, cascade, solver or EnumerationSolver(), settings, pins)
    if num_loadbalancers == 1:
        balancer = make_balancer(catalog, cascade, num_workers, settings.loadbalancer)
        return System(
            router=balancer,
            controller=controller,
            telemetry=lambda now_s: balancer_telemetry(balancer, cascade_ids, now_s),
            is_query_aware=is_query_aware,
        )
    balancers = [
        make_balancer(catalog, cascade, num_workers, settings.loadbalancer, name_of(index))
        for index in range(num_loadbalancers)
    ]
    return System(
        router=Balancers(balancers),
        controller=controller,
        telemetry=lambda now_s: added_up(
            [balancer_telemetry(balancer, cascade_ids, now_s) for balancer in balancers]
        ),
        is_query_aware=is_query_aware,
    )
