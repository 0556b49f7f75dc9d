"""How a trace goes from process to process: W3C ``traceparent`` in gRPC metadata and HTTP headers.

A batch belongs to as many traces as it has queries, so inside a deployment each query of a batch
and each image to score carries its parent in a field. Knows no tracing library.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Final

TRACEPARENT: Final = "traceparent"

incoming: ContextVar[str] = ContextVar("incoming_traceparent", default="")
"""``traceparent`` of the call that is being served; empty: it has none, or nothing is traced."""

Metadata = Iterable[tuple[str, str | bytes]]


def traceparent_of(metadata: Metadata | None) -> str:
    """Return the ``traceparent`` of a call; empty when there is none."""
    return _text_of(metadata, TRACEPARENT)


def _text_of(metadata: Metadata | None, name: str) -> str:
    for key, value in metadata or ():
        if key == name and isinstance(value, str):
            return value
    return ""
