"""A minimal driver of the balancer on virtual time, with the invariants every run must keep."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from diffserve.core import (
    Cascade,
    CascadePlan,
    CascadeStage,
    Outcome,
    Plan,
    Preference,
    Query,
    WorkerInfo,
)
from diffserve.policy.actions import Abort, Action, Bypass, Defer, Finish, Launch, Shadow
from diffserve.policy.balancer import Balancer
from diffserve.policy.parameters import BalancerParameters
from diffserve.profiles.curves import QualityCurve
from diffserve.profiles.latency import LatencyProfile

LIGHT = LatencyProfile({1: 0.1, 2: 0.15, 4: 0.25})
HEAVY = LatencyProfile({1: 1.0, 2: 1.6})
QUALITY = QualityCurve((0.0, 0.5, 1.0), (0.0, 0.75, 1.0), "gain")
CASCADE = Cascade(cascade_id="c", light="light", heavy="heavy", discriminator="d", slo_s=5.0)


def plan(
    placement: dict[str, str], *, fraction: float = 0.5, plan_id: int = 1, draining: str = ""
) -> Plan:
    return Plan(
        plan_id=plan_id,
        placement=placement,
        batch_size_max={"light": 4, "heavy": 2},
        cascades={
            "c": CascadePlan(
                cascade_id="c",
                demand_qps=1.0,
                deferral_fraction=fraction,
                deferral_target=fraction,
                confidence_threshold=0.5,
                expected_quality=0.0,
            )
        },
        workers={
            worker_id: WorkerInfo(
                worker_id=worker_id,
                address="",
                device="cpu",
                resident=("light", "heavy"),
                is_draining=worker_id == draining,
            )
            for worker_id in placement
        },
    )


def make_balancer(**parameters: float) -> Balancer:
    return Balancer(
        {"c": CASCADE},
        {"light": LIGHT, "heavy": HEAVY},
        BalancerParameters(**parameters),
        quality={"c": QUALITY},
    )


def make_query(
    query_id: str,
    arrival_s: float = 0.0,
    slo_s: float = 5.0,
    preference: Preference = Preference.AUTO,
    compat_key: str = "",
) -> Query:
    return Query(
        query_id=query_id,
        cascade_id="c",
        arrival_s=arrival_s,
        deadline_s=arrival_s + slo_s,
        preference=preference,
        compat_key=compat_key,
    )


@dataclass
class Harness:
    """Runs batches for their profiled time; percentiles come from ``percentile``."""

    balancer: Balancer
    percentile: Callable[[str], float | None] = lambda query_id: 0.5
    finished: dict[str, Finish] = field(default_factory=dict)
    finished_s: dict[str, float] = field(default_factory=dict)
    deferred: list[str] = field(default_factory=list)
    bypassed: list[str] = field(default_factory=list)
    aborts: list[Abort] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    shadows: list[Shadow] = field(default_factory=list)
    dead: set[str] = field(default_factory=set)
    busy: dict[str, int] = field(default_factory=dict)
    profiles: dict[str, LatencyProfile] = field(
        default_factory=lambda: {"light": LIGHT, "heavy": HEAVY}
    )
    slowness: dict[str, float] = field(default_factory=dict)
    now_s: float = 0.0
    _events: list[tuple[float, int, Callable[[], list[Action]]]] = field(default_factory=list)
    _sequence: itertools.count[int] = field(default_factory=itertools.count)

    def at(self, when_s: float, event: Callable[[], list[Action]]) -> None:
        heapq.heappush(self._events, (when_s, next(self._sequence), event))

    def submit(self, query: Query) -> None:
        self.at(query.arrival_s, lambda: self.balancer.submit(query, self.now_s))

    def run(self) -> None:
        while self._events or self.balancer.next_wakeup_s is not None:
            wakeup_s = self.balancer.next_wakeup_s
            if wakeup_s is not None and (not self._events or wakeup_s <= self._events[0][0]):
                self.now_s = max(self.now_s, wakeup_s)
                self.perform(self.balancer.tick(self.now_s))
                continue
            self.now_s, _, event = heapq.heappop(self._events)
            self.perform(event())

    def perform(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Launch(batch) | Shadow(batch):
                    assert batch.worker_id not in self.dead, "launched on a dead worker"
                    assert batch.worker_id not in self.busy, "two batches on one device"
                    cap = self.balancer.pool(batch.variant_id).batch_size_max
                    assert 1 <= len(batch.query_ids) <= cap
                    self._remember(action)
                    self.busy[batch.worker_id] = batch.batch_id
                    seconds = self.profiles[batch.variant_id].execution_s(len(batch.query_ids))
                    done_s = self.now_s + seconds * self.slowness.get(batch.worker_id, 1.0)
                    self.at(done_s, lambda launch=action: self._done(launch))
                case Finish(query_id):
                    assert query_id not in self.finished, "answered twice"
                    self.finished[query_id] = action
                    self.finished_s[query_id] = self.now_s
                case Defer(query_id):
                    self.deferred.append(query_id)
                case Bypass(query_id):
                    self.bypassed.append(query_id)
                case Abort():
                    self.aborts.append(action)
                    self._stop_shadow(action)

    def kill(self, worker_id: str) -> list[Action]:
        self.dead.add(worker_id)
        self.busy.pop(worker_id, None)
        return self.balancer.worker_lost(worker_id, self.now_s)

    def revive(self, worker_id: str) -> list[Action]:
        self.dead.discard(worker_id)
        return self.balancer.worker_found(worker_id, self.now_s)

    def _remember(self, action: Launch | Shadow) -> None:
        if isinstance(action, Launch):
            self.launches.append(action)
            return
        assert all(q not in self.finished for q in action.batch.query_ids), "told too late"
        self.shadows.append(action)

    def _stop_shadow(self, abort: Abort) -> None:
        for shadow in self.shadows:
            if shadow.batch.batch_id == abort.batch_id:
                self.at(self.now_s, lambda launch=shadow: self._done(launch))

    def _done(self, launch: Launch | Shadow) -> list[Action]:
        batch = launch.batch
        if self.busy.get(batch.worker_id) != batch.batch_id:
            return []  # its worker was killed
        del self.busy[batch.worker_id]
        seconds = self.now_s - batch.started_s
        self.perform(self.balancer.device_released(batch.batch_id, seconds, self.now_s))
        for query_id in batch.query_ids:
            if batch.stage is CascadeStage.LIGHT:
                percentile = self.percentile(query_id)
                self.perform(
                    self.balancer.light_ready(batch.batch_id, query_id, percentile, self.now_s)
                )
            else:
                self.perform(self.balancer.heavy_ready(batch.batch_id, query_id, self.now_s))
        return self.balancer.batch_ended(batch.batch_id, self.now_s)

    def outcome(self, query_id: str) -> Outcome:
        return self.finished[query_id].outcome
