"""How a trace goes from process to process: W3C ``traceparent`` in gRPC metadata and HTTP headers.

A batch belongs to as many traces as it has queries, so inside a deployment one metadata entry
lists their parents in the order of the queries. Knows no tracing library.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Final

TRACEPARENT: Final = "traceparent"
BATCH_TRACEPARENTS: Final = "diffserve-traceparents"

incoming: ContextVar[str] = ContextVar("incoming_traceparent", default="")
"""``traceparent`` of the call that is being served; empty: it has none, or nothing is traced."""

Metadata = Iterable[tuple[str, str | bytes]]


def traceparent_of(metadata: Metadata | None) -> str:
    """Return the ``traceparent`` of a call; empty when there is none."""
    return _text_of(metadata, TRACEPARENT)


def batch_metadata(parents: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the metadata that tells a batch's parents; an empty one is a query not traced."""
    return ((BATCH_TRACEPARENTS, ",".join(parents)),)


def batch_parents(metadata: Metadata | None, num_queries: int) -> tuple[str, ...]:
    """Return one parent per query; none at all when the metadata does not fit the batch."""
    parents = tuple(_text_of(metadata, BATCH_TRACEPARENTS).split(","))
    return parents if len(parents) == num_queries else ("",) * num_queries


def _text_of(metadata: Metadata | None, name: str) -> str:
    for key, value in metadata or ():
        if key == name and isinstance(value, str):
            return value
    return ""
