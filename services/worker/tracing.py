"""A worker's part of the traces of a batch's queries."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from diffserve.observability.tracing import Tracing, traceparent
from services.worker.batch import BatchSpec


class RunTrace:
    """Makes spans ``staged``, ``execute``, ``encode`` and ``score`` below each query's parent."""

    def __init__(self, tracing: Tracing, spec: BatchSpec, plan_id: int) -> None:
        """Read the parents of a batch's queries."""
        self._tracing = tracing
        self._parents = {d.query_id: d.traceparent for d in spec.drawings if d.traceparent}
        self._plan_id = plan_id
        self._variant_id = spec.variant.variant_id
        self._batch_size = len(spec.drawings)

    def executed(self, accepted_s: float, started_s: float, execution_s: float) -> None:
        """Record the batch's time before and on the device; monotonic seconds."""
        end_s = started_s + execution_s
        for query_id, parent in self._parents.items():
            self._record("staged", query_id, parent, accepted_s, started_s)
            self._record("execute", query_id, parent, started_s, end_s)

    def encoded(self, query_id: str, start_s: float, end_s: float) -> None:
        """Record an image's time from pixels to bytes, waiting for a thread included."""
        parent = self._parents.get(query_id)
        if parent:
            self._record("encode", query_id, parent, start_s, end_s)

    @contextlib.contextmanager
    def scoring(self, query_ids: Sequence[str]) -> Iterator[dict[str, str]]:
        """Record what happens within as scoring; yield the discriminator's parents, by query."""
        start_s = time.monotonic()
        spans = {
            query_id: self._tracing.begin("score", parent, start_s, query_id=query_id)
            for query_id in query_ids
            if (parent := self._parents.get(query_id))
        }
        try:
            yield {query_id: traceparent(span) for query_id, span in spans.items()}
        finally:
            for span in spans.values():
                self._tracing.end(span, time.monotonic())

    def _record(self, name: str, query_id: str, parent: str, start_s: float, end_s: float) -> None:
        self._tracing.record(
            name,
            parent,
            start_s,
            end_s,
            query_id=query_id,
            plan_id=self._plan_id,
            variant_id=self._variant_id,
            batch_size=self._batch_size,
        )
