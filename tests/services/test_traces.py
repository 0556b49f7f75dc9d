"""One query, one trace: from the client's span to the discriminator's, at an OTLP receiver."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider

from diffserve.catalog import load_catalog
from diffserve.client import AsyncClient
from tests.services.deployment import running_deployment

MOCK = load_catalog("mock")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@dataclass
class Span:
    """A span as it was received."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]


@dataclass
class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP collector in memory."""

    spans: list[Span] = field(default_factory=list)

    async def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            named = {a.key: a.value.string_value for a in resource.resource.attributes}
            for span in (span for scope in resource.scope_spans for span in scope.spans):
                attributes = {
                    a.key.removeprefix("diffserve."): getattr(
                        a.value, a.value.WhichOneof("value") or "string_value"
                    )
                    for a in span.attributes
                }
                self.spans.append(
                    Span(
                        span.name,
                        named["service.name"],
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.start_time_unix_nano,
                        span.end_time_unix_nano,
                        attributes,
                    )
                )
        return trace_service_pb2.ExportTraceServiceResponse()


@contextlib.asynccontextmanager
async def running_receiver() -> AsyncIterator[tuple[Receiver, str]]:
    receiver, server = Receiver(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield receiver, f"http://127.0.0.1:{port}"
    finally:
        await server.stop(0)


@pytest.fixture
def application_traces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The client's own program uses OpenTelemetry."""
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer", lambda name: provider.get_tracer(name))
    yield
    provider.shutdown()


async def received(receiver: Receiver, names: set[str]) -> dict[str, Span]:
    async with asyncio.timeout(10):
        while not names <= {span.name for span in receiver.spans}:
            await asyncio.sleep(0.05)
    return {span.name: span for span in receiver.spans}


@pytest.mark.parametrize("scoring", ["service", "local"])
async def test_one_query_is_one_trace_with_every_stage(
    application_traces: None, scoring: str
) -> None:
    names = {
        *("query", "light_queue", "light_batch", "heavy_queue", "heavy_batch"),
        *("staged", "execute", "encode", "score", "discriminate"),
    }
    async with running_receiver() as (receiver, endpoint):
        async with (
            running_deployment(MOCK, share=1.0, endpoint=endpoint, scoring=scoring) as deployment,
            AsyncClient(deployment.door) as client,
        ):
            image = await client.generate("an owl")
        spans = await received(receiver, names)
    assert image.outcome == "heavy"
    assert len({span.trace_id for span in receiver.spans}) == 1
    by_id = {span.span_id: span for span in receiver.spans}
    tree = {
        (by_id[span.parent_id].name if span.parent_id in by_id else "client", span.name)
        for span in receiver.spans
    }
    assert tree == {
        ("client", "query"),
        *(("query", stage) for stage in names if stage.endswith(("_queue", "_batch"))),
        *(("light_batch", step) for step in ("staged", "execute", "encode", "score")),
        *(("heavy_batch", step) for step in ("staged", "execute", "encode")),
        ("score", "discriminate"),
    }
    assert spans["query"].parent_id
    assert spans["query"].attributes["query_id"] == image.query_id
    assert spans["query"].attributes["outcome"] == "heavy"
    for name in ("light_queue", "light_batch", "execute"):
        assert spans[name].attributes["plan_id"] == 5
        assert spans[name].attributes["query_id"] == image.query_id
    assert spans["heavy_batch"].attributes["variant_id"] == "mock-heavy"
    assert spans["heavy_batch"].attributes["batch_size"] == 1
    services = ("loadbalancer", "worker", *(("discriminator",) if scoring == "service" else ()))
    assert {span.service for span in receiver.spans} == {f"diffserve-{name}" for name in services}
    whole = spans["query"]
    for span in receiver.spans:
        assert whole.start_ns - 10**7 <= span.start_ns <= span.end_ns <= whole.end_ns + 10**8


async def test_http_goes_on_with_the_trace_of_its_request() -> None:
    async with running_receiver() as (receiver, endpoint):
        async with (
            running_deployment(MOCK, share=0.0, endpoint=endpoint) as deployment,
            httpx.AsyncClient() as client,
        ):
            answer = await client.post(
                f"{deployment.http}/v1/images/generations",
                json={"prompt": "an owl"},
                headers={"traceparent": PARENT},
            )
            assert answer.status_code == 200, answer.text
        spans = await received(receiver, {"query", "execute"})
    _, trace_id, parent_id, _ = PARENT.split("-")
    assert spans["query"].trace_id == spans["execute"].trace_id == trace_id
    assert spans["query"].parent_id == parent_id


def test_without_an_endpoint_nothing_that_makes_or_sends_spans_is_loaded() -> None:
    """Redis and FastAPI load OpenTelemetry's interfaces where they find them; we load nothing."""
    modules = ("loadbalancer", "worker", "discriminator", "controller")
    imports = ";".join(f"import services.{name}.application" for name in modules)
    heavy = "('opentelemetry.sdk.trace', 'opentelemetry.exporter')"
    check = f"import sys; assert not [m for m in sys.modules if m.startswith({heavy})]"
    subprocess.run([sys.executable, "-c", f"{imports};import diffserve.client;{check}"], check=True)
