"""Every Redis key of DiffServe: type, unit, lifetime, writer, reader. There are no others."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "diffserve:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One row of the schema.

    Attributes:
        pattern: Key name; ``{}`` stands for the id given to ``of``.
        kind: Redis type.
        content: What it holds, with units.
        ttl_s: Seconds until it expires after the last write; None keeps it.
        writer: Who writes it.
        readers: Who reads it.
    """

    pattern: str
    kind: str
    content: str
    ttl_s: int | None
    writer: str
    readers: str

    def of(self, identity: object = "") -> str:
        """Return the name of the key for one id."""
        return PREFIX + self.pattern.format(identity)


LOADBALANCERS = Key(
    pattern="loadbalancers",
    kind="zset",
    content="loadbalancer_id, scored by Unix seconds of its last report",
    ttl_s=None,
    writer="loadbalancer, controller (drops those whose report has expired)",
    readers="controller",
)
LOADBALANCER = Key(
    pattern="loadbalancer:{}",
    kind="hash",
    content=(
        "incarnation; plan_id; queue_length:<variant_id> (queries); oldest_age_s:<variant_id> "
        "(seconds); due_qps:<variant_id> (queries/s that serve them in time); "
        "arrivals:<cascade_id> and outcome:<cascade_id>:<outcome> (counters since "
        "start of the incarnation); in_progress:<cascade_id> (queries)"
    ),
    ttl_s=10,
    writer="loadbalancer",
    readers="controller, diffserve status",
)
PLAN_NEXT_ID = Key(
    pattern="plan:next_id",
    kind="string",
    content="last plan_id given out (integer)",
    ttl_s=None,
    writer="controller",
    readers="controller",
)
PLAN_CURRENT = Key(
    pattern="plan:current",
    kind="string",
    content="plan in force, as protobuf JSON of diffserve.rpc.v1.Plan",
    ttl_s=None,
    writer="controller",
    readers="controller and loadbalancer (recovery), people",
)
PLAN = Key(
    pattern="plan:{}",
    kind="string",
    content="one past plan, as protobuf JSON of diffserve.rpc.v1.Plan",
    ttl_s=3600,
    writer="controller",
    readers="controller (plan show)",
)
PLANNING_PAUSED = Key(
    pattern="planning:paused",
    kind="string",
    content="1 while an operator has paused re-planning, else 0",
    ttl_s=None,
    writer="controller",
    readers="controller (after a restart)",
)
OVERRIDES = Key(
    pattern="planning:overrides",
    kind="string",
    content="what operators decided in place of the planner, as JSON: SLOs (seconds) and shares",
    ttl_s=None,
    writer="controller",
    readers="controller (after a restart)",
)
WORKERS = Key(
    pattern="workers",
    kind="hash",
    content="worker_id -> JSON of address, device, resident, draining (registered workers)",
    ttl_s=None,
    writer="controller",
    readers="controller (after a restart), people",
)
PROFILE = Key(
    pattern="profile:{}",
    kind="hash",
    content="per <device type>:<variant_id>: batch size -> measured execution seconds (median)",
    ttl_s=86_400,
    writer="controller",
    readers="controller (after a restart)",
)
SKETCH = Key(
    pattern="sketch:{}",
    kind="string",
    content="per <discriminator>:<variant_id>: recent confidences, JSON list, oldest first",
    ttl_s=86_400,
    writer="discriminator",
    readers="discriminator (after a restart)",
)
CALIBRATION = Key(
    pattern="calibration:{}",
    kind="string",
    content=(
        "per <discriminator>:<variant_id>: what the discriminator has learnt of the variant's "
        "images, as protobuf JSON of diffserve.rpc.v1.Calibration"
    ),
    ttl_s=30,
    writer="discriminator",
    readers="controller",
)

SCHEMA: tuple[Key, ...] = (
    LOADBALANCERS,
    LOADBALANCER,
    PLAN_NEXT_ID,
    PLAN_CURRENT,
    PLAN,
    PLANNING_PAUSED,
    OVERRIDES,
    WORKERS,
    PROFILE,
    SKETCH,
    CALIBRATION,
)
"""The whole table."""
