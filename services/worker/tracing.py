"""A worker's part of the traces of a batch's queries."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from diffserve.observability.propagation import Metadata, batch_metadata, batch_parents
from diffserve.observability.tracing import Tracing, traceparent
from services.worker.batch import BatchSpec

ScoringMetadata = tuple[tuple[str, str], ...]


class RunTrace:
    """Makes spans ``staged``, ``execute``, ``encode`` and ``score`` below each query's parent."""

    def __init__(
        self, tracing: Tracing, spec: BatchSpec, metadata: Metadata | None, plan_id: int
    ) -> None:
        """Read the parents of a batch's queries from the call's metadata."""
        ids = [drawing.query_id for drawing in spec.drawings]
        parents = batch_parents(metadata, len(ids))
        self._tracing = tracing
        self._parents = {q: parent for q, parent in zip(ids, parents, strict=True) if parent}
        self._plan_id = plan_id
        self._variant_id = spec.variant.variant_id
        self._batch_size = len(ids)

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
    def scoring(self, query_ids: Sequence[str]) -> Iterator[ScoringMetadata]:
        """Record what happens within as scoring; yield what tells the discriminator of it."""
        start_s = time.monotonic()
        spans = {
            query_id: self._tracing.begin("score", parent, start_s, query_id=query_id)
            for query_id in query_ids
            if (parent := self._parents.get(query_id))
        }
        try:
            yield batch_metadata([traceparent(spans[q]) if q in spans else "" for q in query_ids])
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
