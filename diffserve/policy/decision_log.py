"""One line per decision, live or simulated: the same simulated run gives the same bytes."""

from __future__ import annotations

from typing import TextIO

from diffserve.core import CascadePlan, Plan, Query
from diffserve.policy.actions import Abort, Action, Bypass, Defer, Finish, Launch, Shadow


class DecisionLog:
    """Writes what was decided, in the order and at the driver's time it was decided."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def arrival(self, query: Query, now_s: float) -> None:
        """Write that a query arrived."""
        rank = "" if query.difficulty is None else f" difficulty={query.difficulty:.4f}"
        self._write(now_s, f"arrive {query.query_id} deadline={query.deadline_s:.6f}{rank}")

    def route(self, query: Query, now_s: float) -> None:
        """Write which cascade of its class serves a query."""
        self._write(now_s, f"route {query.query_id} to {query.cascade_id}")

    def plan(self, plan: Plan, now_s: float) -> None:
        """Write the plan that a router follows from now on."""
        hosted = list(plan.placement.values())
        counts = " ".join(
            f"{variant_id}={hosted.count(variant_id)}x{cap}"
            for variant_id, cap in sorted(plan.batch_size_max.items())
        )
        shares = " ".join(_share(cascade) for cascade in plan.cascades.values())
        self._write(now_s, f"plan {plan.plan_id} {counts} {shares} ({plan.status})")
        for worker_id, variants in sorted(plan.coresident.items()):
            self._write(now_s, f"plan {plan.plan_id} {worker_id} also {' '.join(variants)}")

    def action(self, action: Action, now_s: float) -> None:
        """Write one action of a router."""
        match action:
            case Launch(batch):
                ids = ",".join(batch.query_ids)
                what = f"batch={batch.batch_id} {batch.variant_id} on {batch.worker_id}: {ids}"
                self._write(now_s, f"launch {what}")
            case Shadow(batch):
                what = f"batch={batch.batch_id} {batch.variant_id} on {batch.worker_id}"
                self._write(now_s, f"shadow {what}: {batch.query_ids[0]}")
            case Defer(query_id):
                self._write(now_s, f"defer {query_id}")
            case Bypass(query_id):
                self._write(now_s, f"bypass {query_id}")
            case Finish(query_id, outcome):
                self._write(now_s, f"finish {query_id} {outcome.value}")
            case Abort(batch_id, worker_id, query_id):
                self._write(now_s, f"abort {query_id} batch={batch_id} on {worker_id}")

    def fault(self, text: str, now_s: float) -> None:
        """Write that something broke or was mended."""
        self._write(now_s, f"fault {text}")

    def _write(self, now_s: float, text: str) -> None:
        self._stream.write(f"{now_s:.6f} {text}\n")


def _share(cascade: CascadePlan) -> str:
    """Return what is planned for a cascade, what is out of the ordinary only where it is."""
    text = f"defer={cascade.deferral_target:.4f} demand={cascade.demand_qps:.4f}"
    if cascade.class_share != 1.0:
        text = f"{cascade.cascade_id}: share={cascade.class_share:.4f} {text}"
    if cascade.bypass_fraction > 0.0:
        text += f" bypass={cascade.bypass_fraction:.4f}"
    return text
