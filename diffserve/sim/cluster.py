"""The simulated deployment: performs a router's actions on simulated devices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from diffserve.catalog import Catalog
from diffserve.core import Batch, CascadeStage, Plan, Query
from diffserve.policy.actions import Abort, Action, Bypass, Finish, Launch, Shadow
from diffserve.policy.decision_log import DecisionLog
from diffserve.policy.leases import BUSY_MIN_S, EARLY
from diffserve.policy.placement import count_switches
from diffserve.sim.checkers import Checkers
from diffserve.sim.engine import Engine, Priority
from diffserve.sim.faults import Faults
from diffserve.sim.hardware import Device, HardwareParameters, ServiceTimes
from diffserve.sim.images import Confidences, Difficulties
from diffserve.sim.membership import Membership
from diffserve.sim.quality import WINDOW_S
from diffserve.sim.report import Recorder
from diffserve.sim.system import System
from diffserve.sim.workload import Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Everything around the system under simulation.

    Attributes:
        catalog: Its default cascade, or request class, is served.
        slo_s: Allowed duration.
        hardware: How the machines behave.
        service_times: Draws execution times.
        confidences: Draws the ranks of light images, and scores them for each cascade that has no
            other source.
        faults: What breaks.
        devices: The machines.
        log: Where decisions are written, if anywhere.
        window_s: Length of the report's windows.
        scorers: Scores light images of the other cascades of a class, by ``cascade_id``.
        difficulties: Ranks prompts, where anybody asks for that.
    """

    catalog: Catalog
    slo_s: float
    hardware: HardwareParameters
    service_times: ServiceTimes
    confidences: Confidences
    faults: Faults
    devices: tuple[Device, ...]
    log: DecisionLog | None = None
    window_s: float = WINDOW_S
    scorers: Mapping[str, Confidences] = field(default_factory=dict)
    difficulties: Difficulties | None = None


class Cluster:
    """Turns actions into events and events into calls of the router and the controller.

    It decides nothing: which query goes where, when and with whom is all the router's, who runs
    what is all the controller's.
    """

    def __init__(self, environment: Environment, system: System) -> None:
        self.engine = Engine()
        self.recorder = Recorder(environment.window_s)
        self.checkers = Checkers()
        self._environment = environment
        self._system = system
        self._log = environment.log
        self._devices = {device.worker_id: device for device in environment.devices}
        self._live: dict[str, tuple[Query, float]] = {}
        self._bypassed: set[str] = set()
        self._arrivals: Iterator[Arrival] = iter(())
        self._has_arrivals = True
        self._placement: dict[str, str] = {}
        self._plan_id = 0
        self._membership = Membership(environment, self.engine, self)

    # -- the run ---------------------------------------------------------------------------

    def run(self, arrivals: Iterator[Arrival], on_progress: Callable[[float], None]) -> None:
        """Serve all arrivals; return when every query has its outcome."""
        self._arrivals = arrivals
        self._membership.start()
        self.replan()
        self._report()
        self.engine.at(self._system.controller.planning_period_s, Priority.PLAN, self._plan_again)
        self._next_arrival()
        num_steps = 0
        while self._has_arrivals or self._live:
            self._step()
            num_steps += 1
            if num_steps % 4096 == 0:
                on_progress(self.engine.now_s)
        self.checkers.ended(self.recorder.num_late)

    def _step(self) -> None:
        wakeup_s, next_s = self._system.router.next_wakeup_s, self.engine.next_s
        if wakeup_s is not None and (next_s is None or wakeup_s <= next_s):
            self.engine.advance_to(wakeup_s)
            self.perform(self._system.router.tick(self.engine.now_s))
        else:
            self.engine.step()

    # -- clients ---------------------------------------------------------------------------

    def _next_arrival(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is None:
            self._has_arrivals = False
            return
        self.engine.at(arrival.arrival_s, Priority.ARRIVAL, partial(self._arrive, arrival))

    def _arrive(self, arrival: Arrival) -> None:
        now_s = self.engine.now_s
        query = Query(
            query_id=f"q{self.recorder.num_queries}",
            cascade_id=self._environment.catalog.default_cascade,
            arrival_s=now_s,
            deadline_s=now_s + self._environment.slo_s,
            difficulty=self._difficulty(),
        )
        query = self._routed(query)
        self._live[query.query_id] = (query, self._environment.confidences.draw(arrival.prompt_id))
        self.recorder.arrived(now_s)
        self.checkers.submitted(query.query_id, query.deadline_s)
        if self._log:
            self._log_arrival(query, now_s)
        self.perform(self._system.router.submit(query, now_s))
        self._next_arrival()

    def _difficulty(self) -> float | None:
        source = self._environment.difficulties
        return source.draw() if source else None

    def _routed(self, query: Query) -> Query:
        """Ask the router for the cascade of a query that names a class."""
        if query.cascade_id in self._environment.catalog.cascades:
            return query
        return replace(query, cascade_id=self._system.router.route(query.cascade_id))

    def _log_arrival(self, query: Query, now_s: float) -> None:
        assert self._log is not None
        self._log.arrival(query, now_s)
        if query.cascade_id != self._environment.catalog.default_cascade:
            self._log.route(query, now_s)

    # -- actions ---------------------------------------------------------------------------

    def perform(self, actions: list[Action]) -> None:
        """Do what the router says, in order."""
        now_s = self.engine.now_s
        for action in actions:
            if self._log:
                self._log.action(action, now_s)
            if isinstance(action, Launch):
                self._launch(action.batch)
            elif isinstance(action, Shadow):
                self.recorder.num_shadows += 1
                self._launch(action.batch)
            elif isinstance(action, Finish):
                self._finish(action, now_s)
            elif isinstance(action, Bypass):
                self._bypassed.add(action.query_id)
            elif isinstance(action, Abort):
                self._abort(action)

    def _finish(self, finish: Finish, now_s: float) -> None:
        query, _ = self._live.pop(finish.query_id)
        is_bypassed = finish.query_id in self._bypassed
        self._bypassed.discard(finish.query_id)
        self.checkers.finished(finish.query_id, finish.outcome, now_s)
        self.recorder.finished(
            query.arrival_s,
            query.deadline_s,
            finish.outcome,
            now_s,
            cascade_id=query.cascade_id,
            is_bypassed=is_bypassed,
        )

    def _launch(self, batch: Batch) -> None:
        """Send a batch to its worker; a dead one stays silent, one that loads refuses."""
        device, hardware = self._devices[batch.worker_id], self._environment.hardware
        self.checkers.launched(batch)
        if batch.stage is CascadeStage.LIGHT and self._bypassed:
            self._bypassed.difference_update(batch.query_ids)  # they draw a light image after all
        start_s = self.engine.now_s + hardware.network_s
        if not device.is_alive:
            return
        if not device.accepts(batch.variant_id):
            event = partial(self._refused, device, batch)
            self.engine.at(start_s + hardware.network_s, Priority.WORKER, event)
            return
        if device.running is not None:
            self._stage(device, batch, start_s)
            return
        device.began_s = self.engine.now_s
        self._execute(device, batch, start_s)

    def _stage(self, device: Device, batch: Batch, start_s: float) -> None:
        """Let a busy worker stage a batch, or refuse it; only other load balancers keep it busy."""
        if device.staged is None and not batch.only_if_idle:
            device.staged = batch
            return
        busy_s = max(BUSY_MIN_S, EARLY * (device.expected_free_s - start_s))
        event = partial(self._refused_busy, batch, busy_s)
        self.engine.at(start_s + self._environment.hardware.network_s, Priority.WORKER, event)

    def _refused_busy(self, batch: Batch, busy_s: float) -> None:
        self.recorder.num_busy_refusals += 1
        self.perform(
            self._system.router.batch_ended(
                batch.batch_id, self.engine.now_s, was_refused=True, busy_s=busy_s
            )
        )

    def _execute(self, device: Device, batch: Batch, start_s: float) -> None:
        hardware = self._environment.hardware
        self.checkers.executed(batch, device.resident)
        profiled_s = self._environment.service_times.profiled_s(device, batch)
        device.expected_free_s = start_s + profiled_s * device.slowdown
        execution_s = self._environment.service_times.execution_s(device, batch)
        if self._system.scores_on_device and batch.stage is CascadeStage.LIGHT:
            execution_s += hardware.scoring_s
        device.running, device.variant_id = batch, batch.variant_id
        device.free_at_s = start_s + execution_s
        device.aborted.clear()
        event = partial(self._released, device, device.incarnation, batch, start_s)
        self.engine.at(device.free_at_s, Priority.WORKER, event)

    def _refused(self, device: Device, batch: Batch) -> None:
        """The router leaves the worker alone until a fresh look finds it well."""
        now_s, router = self.engine.now_s, self._system.router
        self.perform(
            router.batch_ended(batch.batch_id, now_s, was_refused=True, is_worker_lost=True)
        )
        self._membership.look_again(device)

    def _abort(self, action: Abort) -> None:
        """Take a query out of a running batch; an empty one stops at the next denoising step."""
        device = self._devices[action.worker_id]
        batch = device.running
        if batch is None or batch.batch_id != action.batch_id:
            return
        device.aborted.add(action.query_id)
        hardware = self._environment.hardware
        if len(device.aborted) < len(batch.query_ids):
            return
        steps = self._environment.catalog.variants[batch.variant_id].num_inference_steps
        profiled_s = self._environment.service_times.profiled_s(device, batch)
        step_s = profiled_s * device.slowdown / steps
        stopped_s = self.engine.now_s + hardware.network_s + step_s
        event = partial(self._released, device, device.incarnation, batch, device.began_s)
        self.engine.at(stopped_s, Priority.WORKER, event)

    # -- workers ---------------------------------------------------------------------------

    def _released(self, device: Device, incarnation: int, batch: Batch, start_s: float) -> None:
        """A device is done with a batch: it is free, and the results are on their way."""
        if device.incarnation != incarnation or device.running is not batch:
            return
        now_s, hardware = self.engine.now_s, self._environment.hardware
        device.running = None
        self.recorder.busy_s += now_s - start_s
        self.checkers.released(device.worker_id)
        back_s = now_s + hardware.network_s
        self.engine.at(back_s, Priority.WORKER, partial(self._free, batch, now_s - start_s))
        is_scored_later = batch.stage is CascadeStage.LIGHT and not self._system.scores_on_device
        results_s = back_s + (hardware.scoring_s if is_scored_later else 0.0)
        event = partial(self._results, device, incarnation, batch)
        self.engine.at(results_s, Priority.WORKER, event)
        if device.staged is not None:
            staged, device.staged = device.staged, None
            self._begin_staged(device, staged)

    def _begin_staged(self, device: Device, batch: Batch) -> None:
        """Run a staged batch; one that nobody waits for any more is over at once."""
        now_s = self.engine.now_s
        if not device.accepts(batch.variant_id):
            self._refused_busy(batch, BUSY_MIN_S)
            return
        device.began_s = now_s
        self._execute(device, batch, now_s)
        if not any(query_id in self._live for query_id in batch.query_ids):
            device.free_at_s = now_s
            event = partial(self._released, device, device.incarnation, batch, now_s)
            self.engine.at(now_s, Priority.WORKER, event)

    def _free(self, batch: Batch, execution_s: float) -> None:
        now_s = self.engine.now_s
        self.perform(self._system.router.device_released(batch.batch_id, execution_s, now_s))

    def _results(self, device: Device, incarnation: int, batch: Batch) -> None:
        if device.incarnation != incarnation:
            return
        router, now_s = self._system.router, self.engine.now_s
        for query_id in batch.query_ids:
            if query_id not in self._live:
                continue
            if batch.stage is CascadeStage.LIGHT:
                percentile = self._percentile(query_id)
                actions = router.light_ready(batch.batch_id, query_id, percentile, now_s)
            else:
                actions = router.heavy_ready(batch.batch_id, query_id, now_s)
            self.perform(actions)
        self.perform(router.batch_ended(batch.batch_id, now_s))

    def _percentile(self, query_id: str) -> float:
        query, rank = self._live[query_id]
        environment = self._environment
        scorer = environment.scorers.get(query.cascade_id, environment.confidences)
        return scorer.percentile(rank, self.engine.now_s)

    def worker_lost(self, device: Device) -> None:
        """The router notices that a worker is gone."""
        self.checkers.released(device.worker_id)
        device.staged = None
        device.running = None  # a worker that lives on drops the batches of a broken connection
        self.perform(self._system.router.worker_lost(device.worker_id, self.engine.now_s))

    def worker_found(self, device: Device) -> None:
        """The router notices that a worker is back."""
        self.perform(self._system.router.worker_found(device.worker_id, self.engine.now_s))

    # -- controller ------------------------------------------------------------------------

    def _report(self) -> None:
        now_s = self.engine.now_s
        if not self._environment.faults.loses_telemetry(now_s):
            self._system.controller.observe(self._system.telemetry(now_s))
        period_s = self._system.controller.report_period_s
        self.engine.at(now_s + period_s, Priority.TELEMETRY, self._report)

    def _plan_again(self) -> None:
        period_s = self._system.controller.planning_period_s
        self.engine.at(self.engine.now_s + period_s, Priority.PLAN, self._plan_again)
        self.replan()

    def replan(self) -> None:
        """Let the controller make a plan; the router gets it a moment later."""
        now_s = self.engine.now_s
        self._plan_id += 1
        plan = self._system.controller.plan(self._membership.workers(), self._plan_id)
        self.recorder.num_plans += 1
        self.recorder.num_fallback_plans += plan.solver == "fallback"
        if self._placement:
            self.recorder.num_swaps += count_switches(self._placement, plan.placement)
        self._placement = dict(plan.placement)
        self._membership.assign(plan)
        if self._plan_id == 1:
            self._apply(plan)  # serving starts with a plan in force
            return
        environment = self._environment
        delay_s = environment.hardware.plan_delay_s + environment.faults.plan_delay_s(now_s)
        self.engine.at(now_s + delay_s, Priority.PLAN, partial(self._apply, plan))

    def _apply(self, plan: Plan) -> None:
        if plan.plan_id <= self._system.router.plan_id:
            return  # a newer one overtook it
        self.checkers.planned(plan)
        if self._log:
            self._log.plan(plan, self.engine.now_s)
        self.perform(self._system.router.apply_plan(plan, self.engine.now_s))
