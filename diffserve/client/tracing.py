"""The client's span of a call, where the application that uses it traces with OpenTelemetry."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from diffserve.client.values import Wish

Metadata = tuple[tuple[str, str], ...]


@contextlib.contextmanager
def client_span(wish: Wish, query_id: str) -> Iterator[Metadata | None]:
    """Record what happens within as one span; yield the metadata that lets servers go on with it.

    None where the application has not loaded OpenTelemetry: this library never does it by itself.
    """
    if "opentelemetry.trace" not in sys.modules:
        yield None
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    tracer = trace.get_tracer("diffserve.client")
    attributes = {"diffserve.query_id": query_id, "diffserve.preference": str(wish.preference)}
    # Not made current: a generator is suspended with whatever is current around it.
    span = tracer.start_span("generate", kind=trace.SpanKind.CLIENT, attributes=attributes)
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span))
    try:
        yield tuple(carrier.items())
    except Exception as error:
        span.record_exception(error)
        span.set_status(trace.StatusCode.ERROR, str(error))
        raise
    finally:
        span.end()
