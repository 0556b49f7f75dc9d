"""One line per decision: the same run gives the same bytes."""

from __future__ import annotations

from typing import TextIO

from diffserve.core import Plan, Query
from diffserve.policy.actions import Abort, Action, Defer, Finish, Launch


class DecisionLog:
    """Writes what was decided, in the order and at the virtual time it was decided."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def arrival(self, query: Query, now_s: float) -> None:
        """Write that a query arrived."""
        self._write(now_s, f"arrive {query.query_id} deadline={query.deadline_s:.6f}")

    def plan(self, plan: Plan, now_s: float) -> None:
        """Write the plan that a router follows from now on."""
        hosted = list(plan.placement.values())
        counts = " ".join(
            f"{variant_id}={hosted.count(variant_id)}x{cap}"
            for variant_id, cap in sorted(plan.batch_size_max.items())
        )
        shares = " ".join(
            f"defer={c.deferral_target:.4f} demand={c.demand_qps:.4f}"
            for c in plan.cascades.values()
        )
        self._write(now_s, f"plan {plan.plan_id} {counts} {shares} ({plan.status})")

    def action(self, action: Action, now_s: float) -> None:
        """Write one action of a router."""
        match action:
            case Launch(batch):
                ids = ",".join(batch.query_ids)
                what = f"batch={batch.batch_id} {batch.variant_id} on {batch.worker_id}: {ids}"
                self._write(now_s, f"launch {what}")
            case Defer(query_id):
                self._write(now_s, f"defer {query_id}")
            case Finish(query_id, outcome):
                self._write(now_s, f"finish {query_id} {outcome.value}")
            case Abort(batch_id, worker_id, query_id):
                self._write(now_s, f"abort {query_id} batch={batch_id} on {worker_id}")

    def fault(self, text: str, now_s: float) -> None:
        """Write that something broke or was mended."""
        self._write(now_s, f"fault {text}")

    def _write(self, now_s: float, text: str) -> None:
        self._stream.write(f"{now_s:.6f} {text}\n")
