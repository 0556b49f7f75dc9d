"""From telemetry to the planner's observation: demand, queues, profiles, workers."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from diffserve.catalog import Catalog
from diffserve.core import Plan, WorkerInfo
from diffserve.planning.gather import observe_fleet
from diffserve.planning.observation import FleetObservation, QueueState
from diffserve.policy.demand import DemandParameters, DemandState
from diffserve.telemetry.records import LoadBalancerReport
from services.controller.arrivals import ArrivalCount, ArrivalMeter
from services.controller.balancers import BalancerBook
from services.controller.calibration import CalibrationBook
from services.controller.latencies import LatencyBook
from services.controller.overrides import Overrides

logger = logging.getLogger(__name__)


class Observer:
    """What is known of demand and queues, and how old that knowledge is.

    Attributes:
        reports: The newest reading, one row per live load balancer.
        is_connected: Redis answered the last call.
        calibrations: What discriminators have learnt.
        balancers: Which load balancers are alive.
    """

    def __init__(
        self,
        catalog: Catalog,
        latencies: LatencyBook,
        count_every_s: float,
        clock: Callable[[], float],
        *,
        uses_online_quality: bool = False,
    ) -> None:
        self.calibrations = CalibrationBook(catalog, uses_online_quality=uses_online_quality)
        self.balancers = BalancerBook(count_every_s, clock)
        self.reports: tuple[LoadBalancerReport, ...] = ()
        self.is_connected = False
        self._is_loss_logged = False
        self._catalog = catalog
        self._latencies = latencies
        self._count_every_s = count_every_s
        self._clock = clock
        self._read_s = clock()
        self._meter = ArrivalMeter(clock())
        self._last_count: ArrivalCount | None = None
        self._parameters = _demand_parameters(catalog)
        self._demand = {class_id: DemandState() for class_id in self._parameters}
        self._load_s: dict[str, float] = {}

    def follow(self, catalog: Catalog) -> None:
        """Observe further cascades too.

        Queries that name no cascade go to the new default from the next plan on. What was
        estimated for the former one is expected there, and the other way round, until arrivals
        tell: a new default planned for no demand would refuse queries meanwhile.
        """
        old, new = self._catalog.default_class.class_id, catalog.default_class.class_id
        self._catalog = catalog
        self.calibrations.follow(catalog)
        self._parameters = _demand_parameters(catalog)
        known = {
            class_id: self._demand.get(class_id, DemandState()) for class_id in catalog.classes
        }
        self._demand = {**known, old: known[new], new: known[old]}

    @property
    def age_s(self) -> float:
        """Seconds since telemetry was last read, or since start while it never was."""
        return self._clock() - self._read_s

    @property
    def newest_plan_id(self) -> int:
        """Newest plan that a load balancer follows; 0 when none does.

        Plan ids must rise above it even when this controller and Redis both lost their memory.
        """
        return max((report.plan_id for report in self.reports), default=0)

    def take_in(self, reports: Sequence[LoadBalancerReport]) -> None:
        """Take in a reading of Redis; may be called as often as one likes.

        Arrivals are counted at most twice per period: a shorter interval is mostly noise.
        """
        now_s = self._clock()
        self.reports, self._read_s, self.is_connected = tuple(reports), now_s, True
        self.balancers.take_in(self.reports)
        if self._is_loss_logged:
            logger.info("Redis answers again")
            self._is_loss_logged = False
        if self._meter.seconds_since_count(now_s) < self._count_every_s / 2.0:
            return
        count = self._meter.count(self.reports, now_s)
        if count is None:
            # No telemetry is not no demand: the estimate stays.
            return
        self._last_count = count
        for class_id, parameters in self._parameters.items():
            cascade_ids = self._catalog.classes[class_id].cascade_ids
            arrivals = sum(count.arrivals.get(cascade_id, 0) for cascade_id in cascade_ids)
            self._demand[class_id] = parameters.observe(
                self._demand[class_id], arrivals, count.interval_s
            )

    def lose_connection(self, error: BaseException) -> None:
        """Redis did not answer; everything known stays, and ages."""
        self.is_connected = False
        if not self._is_loss_logged:
            logger.warning("Redis does not answer (%s); the plan in force stays", error)
            self._is_loss_logged = True

    def loaded(self, variant_id: str, load_s: float) -> None:
        """Take in how long a worker took to load and warm a variant: plans reckon with it."""
        self._load_s[variant_id] = load_s

    def seed_demand(self, plan: Plan) -> None:
        """Start from the demand of a plan made before a restart, so that it alone moves nothing."""
        for class_id, parameters in self._parameters.items():
            cascade_ids = self._catalog.classes[class_id].cascade_ids
            planned = [plan.cascades[c].demand_qps for c in cascade_ids if c in plan.cascades]
            if planned and self._demand[class_id].num_periods == 0:
                self._demand[class_id] = _state_behind(sum(planned), parameters)

    def arrival_qps(self, cascade_id: str) -> float:
        """Return the arrival rate over the last counted interval; 0 before the first."""
        return self._last_count.rate_qps(cascade_id) if self._last_count else 0.0

    def queues(self) -> dict[str, QueueState]:
        """Return the queues by variant, summed over load balancers."""
        queues: dict[str, QueueState] = {}
        for report in self.reports:
            for variant_id, queue in report.queues.items():
                before = queues.get(variant_id, QueueState())
                queues[variant_id] = QueueState(
                    length=before.length + queue.length,
                    oldest_age_s=max(before.oldest_age_s, queue.oldest_age_s),
                    due_qps=before.due_qps + queue.due_qps,
                )
        return queues

    def mean_qps(self, class_id: str) -> float:
        """Return the estimated arrival rate of a request class, without headroom."""
        return self._demand[class_id].mean_qps

    def observe(
        self,
        workers: tuple[WorkerInfo, ...],
        overrides: Overrides | None = None,
        assumed_qps: Mapping[str, float] | None = None,
    ) -> FleetObservation:
        """Return everything that the next plan depends on.

        Args:
            workers: Every worker that is alive.
            overrides: What operators decided.
            assumed_qps: ``class_id`` -> mean arrival rate to assume in place of the estimate; the
                queues of today are left out then.
        """
        overrides, assumed = overrides or Overrides(), assumed_qps or {}
        states = {
            class_id: replace(state, mean_qps=assumed[class_id]) if class_id in assumed else state
            for class_id, state in self._demand.items()
        }
        return observe_fleet(
            self._catalog,
            workers,
            cascades=[overrides.cascade(c) for c in self._catalog.cascades.values()],
            profile=self._latencies.profile,
            demand_qps={
                class_id: parameters.demand_qps(states[class_id])
                for class_id, parameters in self._parameters.items()
            },
            queues={} if assumed else self.queues(),
            pins=overrides.pins,
            deferral={c: self.calibrations.deferral(c) for c in self._catalog.cascades},
            quality={c: self.calibrations.quality(c) for c in self._catalog.cascades},
            load_s=self._load_s,
        )


def _demand_parameters(catalog: Catalog) -> dict[str, DemandParameters]:
    """Return how the demand of each request class is estimated.

    Bursts shorter than the SLO are absorbed by the queue, so that is the horizon. Demand is a
    class's: which cascade gets it is the plan's own doing.
    """
    return {
        class_id: DemandParameters(horizon_s=catalog.cascades[row.cascade_ids[0]].slo_s)
        for class_id, row in sorted(catalog.classes.items())
    }


def _state_behind(demand_qps: float, parameters: DemandParameters) -> DemandState:
    """Return the Poisson state whose ``demand_qps`` is the given one.

    Inverts d = m + z sqrt(m / h): with r = sqrt(m), r^2 + (z / sqrt(h)) r - d = 0.
    """
    slope = parameters.quantile_z / math.sqrt(parameters.horizon_s)
    root = (-slope + math.sqrt(slope * slope + 4.0 * demand_qps)) / 2.0
    return DemandState(mean_qps=root * root, num_periods=1)
