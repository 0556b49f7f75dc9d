"""What the simulated cluster serves with: a router, a controller and how they see each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from diffserve.core import Plan, Query, WorkerInfo
from diffserve.planning.observation import QueueState
from diffserve.policy.actions import Action


class Router(Protocol):
    """The events of ``policy.balancer.Balancer``, which satisfies it; baselines bring their own."""

    @property
    def plan_id(self) -> int:
        """Plan in force; 0 before the first."""
        ...

    @property
    def next_wakeup_s(self) -> float | None:
        """When ``tick`` must be called next."""
        ...

    def route(self, cascade_id: str) -> str:
        """Return the cascade that shall serve the next query of a request class."""
        ...

    def submit(self, query: Query, now_s: float) -> list[Action]:
        """Take in a new query."""
        ...

    def worker_found(self, worker_id: str, now_s: float) -> list[Action]:
        """Use a worker (again)."""
        ...

    def worker_lost(self, worker_id: str, now_s: float) -> list[Action]:
        """Stop using a worker."""
        ...

    def device_released(self, batch_id: int, execution_s: float, now_s: float) -> list[Action]:
        """Reuse a worker whose device is free."""
        ...

    def light_ready(
        self, batch_id: int, query_id: str, percentile: float | None, now_s: float
    ) -> list[Action]:
        """Decide on a scored light image."""
        ...

    def heavy_ready(self, batch_id: int, query_id: str, now_s: float) -> list[Action]:
        """Answer with a heavy image."""
        ...

    def batch_ended(
        self,
        batch_id: int,
        now_s: float,
        *,
        was_refused: bool = False,
        is_worker_lost: bool = False,
        busy_s: float = 0.0,
    ) -> list[Action]:
        """Close a batch: its results are all in, or its worker did not take it."""
        ...

    def apply_plan(self, plan: Plan, now_s: float) -> list[Action]:
        """Follow a plan, if it is newer."""
        ...

    def tick(self, now_s: float) -> list[Action]:
        """Do what is due."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What a router reports to its controller.

    Attributes:
        reported_s: When.
        num_arrivals: Queries so far, rejected ones included.
        num_in_progress: Queries without an outcome.
        queues: By variant.
        num_in_stage: Queries waiting or running, by variant; only the published system uses it.
        arrivals: Queries so far by cascade; only ours uses it.
        num_sent: Queries sent to workers so far, by variant; only HADIS uses it.
        by_loadbalancer: Queries so far by load balancer, where there are several.
    """

    reported_s: float
    num_arrivals: int
    num_in_progress: int
    queues: Mapping[str, QueueState]
    num_in_stage: Mapping[str, int] = field(default_factory=dict)
    arrivals: Mapping[str, int] = field(default_factory=dict)
    num_sent: Mapping[str, int] = field(default_factory=dict)
    by_loadbalancer: Mapping[str, int] = field(default_factory=dict)


class Controller(Protocol):
    """Turns telemetry into plans; it lives outside the data path."""

    @property
    def report_period_s(self) -> float:
        """Seconds between the router's reports."""
        ...

    @property
    def planning_period_s(self) -> float:
        """Seconds between plans."""
        ...

    def observe(self, telemetry: Telemetry) -> None:
        """Take in a report."""
        ...

    def plan(self, workers: tuple[WorkerInfo, ...], plan_id: int) -> Plan:
        """Return the next plan for the workers that are alive."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A serving system under simulation.

    Attributes:
        router: Takes the decisions per query.
        controller: Takes the decisions per period.
        telemetry: What the router would report at an instant.
        is_query_aware: It chooses by confidence which queries run heavy. Without that, a share of
            heavy answers is worth less; see ``sim.quality``.
        scores_on_device: Scoring occupies the worker's device, as in the paper's artifact.
    """

    router: Router
    controller: Controller
    telemetry: Callable[[float], Telemetry]
    is_query_aware: bool = True
    scores_on_device: bool = False
