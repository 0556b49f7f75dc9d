"""Several load balancers before one fleet; to the simulated cluster they look like one router."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from diffserve.core import Plan, Query
from diffserve.planning.observation import QueueState
from diffserve.policy.actions import Abort, Action, Launch, Shadow
from diffserve.policy.balancer import Balancer
from diffserve.sim.system import Telemetry


def name_of(index: int) -> str:
    """Return the ``loadbalancer_id`` of one of several."""
    return f"loadbalancer-{index}"


class Balancers:
    """A ``sim.system.Router`` of independent balancers, which know nothing of each other.

    Clients take turns with them. A batch's number says whose it is; queries have unique ids.
    """

    def __init__(self, balancers: Sequence[Balancer]) -> None:
        self._balancers = tuple(balancers)
        self._next = 0

    @property
    def plan_id(self) -> int:
        """Plan in force; they get plans together."""
        return self._balancers[0].plan_id

    @property
    def next_wakeup_s(self) -> float | None:
        """When ``tick`` must be called next."""
        wakeups = [b.next_wakeup_s for b in self._balancers]
        return min((when_s for when_s in wakeups if when_s is not None), default=None)

    def route(self, cascade_id: str) -> str:
        """Ask the one whose turn it is."""
        return self._balancers[self._next].route(cascade_id)

    def submit(self, query: Query, now_s: float) -> list[Action]:
        """Send a new query to the one whose turn it is."""
        index, self._next = self._next, (self._next + 1) % len(self._balancers)
        return self._outside(index, self._balancers[index].submit(query, now_s))

    def worker_found(self, worker_id: str, now_s: float) -> list[Action]:
        """All of them find a worker."""
        return self._all(lambda balancer: balancer.worker_found(worker_id, now_s))

    def worker_lost(self, worker_id: str, now_s: float) -> list[Action]:
        """All of them lose a worker."""
        return self._all(lambda balancer: balancer.worker_lost(worker_id, now_s))

    def device_released(self, batch_id: int, execution_s: float, now_s: float) -> list[Action]:
        """Tell the one whose batch it was; the others find out by themselves."""
        index, number = self._inside(batch_id)
        balancer = self._balancers[index]
        return self._outside(index, balancer.device_released(number, execution_s, now_s))

    def light_ready(
        self, batch_id: int, query_id: str, percentile: float | None, now_s: float
    ) -> list[Action]:
        """Tell the one whose batch it was."""
        index, number = self._inside(batch_id)
        balancer = self._balancers[index]
        return self._outside(index, balancer.light_ready(number, query_id, percentile, now_s))

    def heavy_ready(self, batch_id: int, query_id: str, now_s: float) -> list[Action]:
        """Tell the one whose batch it was."""
        index, number = self._inside(batch_id)
        balancer = self._balancers[index]
        return self._outside(index, balancer.heavy_ready(number, query_id, now_s))

    def batch_ended(
        self,
        batch_id: int,
        now_s: float,
        *,
        was_refused: bool = False,
        is_worker_lost: bool = False,
        busy_s: float = 0.0,
    ) -> list[Action]:
        """Tell the one whose batch it was."""
        index, number = self._inside(batch_id)
        actions = self._balancers[index].batch_ended(
            number, now_s, was_refused=was_refused, is_worker_lost=is_worker_lost, busy_s=busy_s
        )
        return self._outside(index, actions)

    def apply_plan(self, plan: Plan, now_s: float) -> list[Action]:
        """All of them follow a plan."""
        return self._all(lambda balancer: balancer.apply_plan(plan, now_s))

    def tick(self, now_s: float) -> list[Action]:
        """All of them do what is due."""
        return self._all(lambda balancer: balancer.tick(now_s))

    def _all(self, call: Callable[[Balancer], list[Action]]) -> list[Action]:
        return [
            action
            for index, balancer in enumerate(self._balancers)
            for action in self._outside(index, call(balancer))
        ]

    def _inside(self, batch_id: int) -> tuple[int, int]:
        number, index = divmod(batch_id, len(self._balancers))
        return index, number

    def _outside(self, index: int, actions: list[Action]) -> list[Action]:
        return [self._renamed(index, action) for action in actions]

    def _renamed(self, index: int, action: Action) -> Action:
        """Return an action with a batch number that no other balancer uses."""
        if isinstance(action, Launch | Shadow):
            number = self._id(index, action.batch.batch_id)
            return replace(action, batch=replace(action.batch, batch_id=number))
        if isinstance(action, Abort):
            return replace(action, batch_id=self._id(index, action.batch_id))
        return action

    def _id(self, index: int, number: int) -> int:
        return number * len(self._balancers) + index


def added_up(reports: Sequence[Telemetry]) -> Telemetry:
    """Return what a controller reads of several load balancers, the first named 0."""
    queues: dict[str, QueueState] = {}
    arrivals: dict[str, int] = {}
    for report in reports:
        for variant_id, queue in report.queues.items():
            before = queues.get(variant_id, QueueState())
            queues[variant_id] = QueueState(
                length=before.length + queue.length,
                oldest_age_s=max(before.oldest_age_s, queue.oldest_age_s),
                due_qps=before.due_qps + queue.due_qps,
            )
        for cascade_id, count in report.arrivals.items():
            arrivals[cascade_id] = arrivals.get(cascade_id, 0) + count
    return Telemetry(
        reported_s=reports[0].reported_s,
        num_arrivals=sum(report.num_arrivals for report in reports),
        num_in_progress=sum(report.num_in_progress for report in reports),
        queues=queues,
        arrivals=arrivals,
        by_loadbalancer={name_of(i): report.num_arrivals for i, report in enumerate(reports)},
    )
