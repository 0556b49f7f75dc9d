"""OpenTelemetry spans of one process, sent to an OTLP collector; off where no endpoint is set.

Services note times as they go in any case; spans are made of them when a stage is over. So a
deployment without an endpoint pays nothing: no SDK is loaded and no context is carried.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from diffserve.errors import ConfigError
from diffserve.observability.propagation import TRACEPARENT

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

Attribute = str | int | float | bool
FLUSH_TIMEOUT_MS = 2_000


class Tracing:
    """Makes spans from monotonic times; lives as long as its process."""

    def __init__(self, service: str, endpoint: str, instance: str = "") -> None:
        """Connect lazily; a collector that is gone costs spans and nothing else.

        Args:
            service: ``service.name`` is ``diffserve-`` and this.
            endpoint: Collector, ``http://host:port``, gRPC without TLS; ``https://`` for TLS.
            instance: Which process of the service.

        Raises:
            ConfigError: OpenTelemetry is not installed.
        """
        try:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise ConfigError(
                "otlp_endpoint: traces need OpenTelemetry: `pip install 'diffserve[tracing]'`"
            ) from None
        resource = Resource.create(
            {"service.name": f"diffserve-{service}", "service.instance.id": instance or service}
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint, insecure=not endpoint.startswith("https://"))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("diffserve")
        self._epoch_ns = time.time_ns() - time.monotonic_ns()

    def begin(self, name: str, parent: str, start_s: float, **attributes: Attribute) -> Span:
        """Begin a span; whoever does so calls ``end``.

        Args:
            name: What is done.
            parent: ``traceparent`` of the span above; empty: this one starts a trace.
            start_s: Monotonic seconds.
            **attributes: About it; their names get the prefix ``diffserve.``.
        """
        return self._tracer.start_span(
            name,
            context=_context(parent),
            start_time=self._ns(start_s),
            attributes=_named(attributes),
        )

    def end(self, span: Span, end_s: float, **attributes: Attribute) -> None:
        """End a span at a monotonic time."""
        span.set_attributes(_named(attributes))
        span.end(self._ns(end_s))

    def record(
        self, name: str, parent: str, start_s: float, end_s: float, **attributes: Attribute
    ) -> None:
        """Record a span that is over."""
        self.end(self.begin(name, parent, start_s, **attributes), end_s)

    async def close(self) -> None:
        """Send what is left, for a short while; beside the event loop, as sending blocks."""
        await asyncio.to_thread(self._provider.force_flush, FLUSH_TIMEOUT_MS)
        await asyncio.to_thread(self._provider.shutdown)

    def _ns(self, monotonic_s: float) -> int:
        return self._epoch_ns + int(monotonic_s * 1e9)


def open_tracing(service: str, endpoint: str, instance: str = "") -> Tracing | None:
    """Return a process's tracing; None where no endpoint is set.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """
    return Tracing(service, endpoint, instance) if endpoint else None


def traceparent(span: Span) -> str:
    """Return what the next process needs to go on with a trace."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _context(parent: str) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({TRACEPARENT: parent}, Context())


def _named(attributes: dict[str, Attribute]) -> dict[str, Attribute]:
    return {f"diffserve.{name}": value for name, value in attributes.items()}
