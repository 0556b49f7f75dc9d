"""The load balancer's part of a query's trace: its wait and its time at a worker, by stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffserve.core import Batch, Plan
from diffserve.observability.propagation import incoming
from diffserve.observability.tracing import Attribute, Tracing, traceparent
from diffserve.policy.actions import Action, Launch
from services.loadbalancer.live import LiveQuery
from services.loadbalancer.watching import Watcher

if TYPE_CHECKING:
    from opentelemetry.trace import Span


@dataclass(slots=True)
class _Trace:
    """A query's spans that are not over.

    Attributes:
        root: The whole query.
        parent: Its ``traceparent``.
        waiting_since_s: When its present wait began.
        stage: What it waits for.
        batch: Its time at a worker.
    """

    root: Span
    parent: str
    waiting_since_s: float
    stage: str = "light"
    batch: Span | None = None


class TraceWatcher(Watcher):
    """Makes spans ``query``, ``light_queue``, ``light_batch``, ``heavy_queue``, ``heavy_batch``."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._traces: dict[str, _Trace] = {}
        self._plan_id = 0

    def parent(self, query_id: str) -> str:
        """Return below which span a worker is to put its own; empty when there is none."""
        trace = self._traces.get(query_id)
        return traceparent(trace.batch) if trace is not None and trace.batch is not None else ""

    def planned(self, plan: Plan, now_s: float) -> None:
        """Remember the plan in force."""
        self._plan_id = plan.plan_id

    def arrived(self, live: LiveQuery, now_s: float) -> None:
        """Begin the query's span, below the client's where it sent one."""
        root = self._tracing.begin(
            "query",
            incoming.get(),
            now_s,
            query_id=live.query.query_id,
            cascade_id=live.cascade.cascade_id,
            preference=live.query.preference.value,
        )
        self._traces[live.query.query_id] = _Trace(root, traceparent(root), now_s)

    def performed(self, action: Action, now_s: float) -> None:
        """End the waits of a batch's queries."""
        if isinstance(action, Launch):
            for query_id in action.batch.query_ids:
                trace = self._traces.get(query_id)
                if trace is not None:
                    self._launched(trace, query_id, action.batch, now_s)

    def light_image(self, live: LiveQuery, now_s: float) -> None:
        """End the light batch's span."""
        trace = self._traces.get(live.query.query_id)
        if trace is not None:
            self._end_batch(trace, now_s)

    def deferred(self, live: LiveQuery, now_s: float) -> None:
        """Begin the second wait."""
        trace = self._traces.get(live.query.query_id)
        if trace is not None:
            trace.waiting_since_s, trace.stage = now_s, "heavy"

    def finished(self, live: LiveQuery, now_s: float) -> None:
        """End the trace's part of this process."""
        trace = self._traces.pop(live.query.query_id, None)
        if trace is None or live.finish is None:
            return
        self._end_batch(trace, now_s)
        self._tracing.end(
            trace.root,
            now_s,
            outcome=live.finish.outcome.value,
            reason=live.finish.reason,
            plan_id=live.plan_id,
        )

    def _launched(self, trace: _Trace, query_id: str, batch: Batch, now_s: float) -> None:
        self._end_batch(trace, now_s)  # of a worker that was lost
        stage = batch.stage.value
        ids: dict[str, Attribute] = {
            "query_id": query_id,
            "plan_id": self._plan_id,
            "variant_id": batch.variant_id,
        }
        began_s = trace.waiting_since_s
        self._tracing.record(f"{stage}_queue", trace.parent, began_s, now_s, **ids)
        trace.batch = self._tracing.begin(
            f"{stage}_batch",
            trace.parent,
            now_s,
            **ids,
            worker_id=batch.worker_id,
            batch_id=batch.batch_id,
            batch_size=len(batch.query_ids),
        )
        trace.waiting_since_s = now_s

    def _end_batch(self, trace: _Trace, now_s: float) -> None:
        if trace.batch is not None:
            self._tracing.end(trace.batch, now_s)
            trace.batch = None
