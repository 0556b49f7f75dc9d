"""What load balancers report to the controller through Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueReport:
    """One queue at one moment.

    Attributes:
        length: Queries waiting.
        oldest_age_s: Seconds the oldest of them has waited; 0 when empty.
        due_qps: The least rate that serves them all by their deadlines; 0 when empty.
    """

    length: int
    oldest_age_s: float
    due_qps: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeReport:
    """Counters of one cascade since the load balancer started.

    Attributes:
        num_arrivals: Queries that arrived, rejected ones included.
        num_in_progress: Queries without an outcome yet.
        outcomes: Outcome name -> queries.
    """

    num_arrivals: int
    num_in_progress: int
    outcomes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancerReport:
    """One load balancer's telemetry.

    Attributes:
        loadbalancer_id: Its name.
        incarnation: Random per process; counters restart with it.
        plan_id: Plan it follows; 0 before the first.
        queues: By ``variant_id``.
        cascades: By ``cascade_id``.
        reported_unix_s: When it was written, by the writer's clock; filled in on reading. Only
            differences between reports of one load balancer mean anything.
    """

    loadbalancer_id: str
    incarnation: str
    plan_id: int
    queues: Mapping[str, QueueReport]
    cascades: Mapping[str, CascadeReport]
    reported_unix_s: float = 0.0
