"""A load balancer takes over the cascades that a plan brings."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from diffserve.activation import Activation, CatalogInForce, activation_of
from diffserve.catalog import load_catalog
from diffserve.rpc.v1 import common_pb2, generation_pb2
from services.loadbalancer.reporting import Reporter
from tests.services.loadbalancer.cluster import Cluster, running_cluster

MOCK = load_catalog("mock")
SWIFT = """
default_cascade = "swift"
[variant.mock-light]
base = "mock-light"
pipeline = "mock"
num_inference_steps = 1
guidance_scale = 0.0
width = 64
height = 64
latency_s = { 1 = 0.02 }
[variant.mock-heavy]
base = "mock-heavy"
pipeline = "mock"
num_inference_steps = 20
guidance_scale = 2.0
width = 64
height = 64
latency_s = { 1 = 0.20 }
[discriminator.mock]
scorer = "mock"
[cascade.swift]
light = "mock-light"
heavy = "mock-heavy"
discriminator = "mock"
slo_s = 1.0
deferral = { thresholds = [0.0, 1.0], fractions = [0.0, 1.0] }
quality = { metric = "made-up quality", fractions = [0.0, 1.0], qualities = [0.5, 0.9] }
"""


def activation() -> str:
    return activation_of(MOCK, Path("swift.toml"), SWIFT, "").to_json()


def request(prompt: str, **fields: Any) -> generation_pb2.GenerateRequest:
    parameters = common_pb2.GenerationParameters(prompt=prompt)
    return generation_pb2.GenerateRequest(parameters=parameters, **fields)


async def bring(cluster: Cluster, text: str, plan_id: int) -> None:
    """Send the plan of the cluster's start again, with an activation."""
    balancer = cluster.application.balancer
    planned = balancer._fleet.plan
    assert planned is not None
    shares = {
        name: replace(planned.cascades["mock"], cascade_id=name) for name in ("mock", "swift")
    }
    cluster.controller.plans.put_nowait(
        replace(planned, plan_id=plan_id, cascades=shares, activation=text)
    )
    while balancer.plan_id != plan_id:
        await asyncio.sleep(0.005)


async def test_queries_go_through_an_activated_cascade_and_those_in_flight_end() -> None:
    async with running_cluster() as cluster:
        ledger = cluster.application.balancer.ledger
        heavy = [asyncio.ensure_future(cluster.stub.Generate(request("a cat 0.1")))]
        while not ledger.num_arrivals("mock"):  # calls on a new channel may overtake each other
            await asyncio.sleep(0.005)
        with pytest.raises(grpc.aio.AioRpcError, match="no cascade 'swift'"):
            await cluster.stub.Generate(request("an owl 0.9", cascade_id="swift"))
        await bring(cluster, activation(), plan_id=2)
        answer = await cluster.stub.Generate(request("an owl 0.9"))
        assert answer.cascade_id == "swift"
        assert cluster.application.balancer.slo_s("swift") == 1.0
        named = await cluster.stub.Generate(request("an owl 0.9", cascade_id="mock"))
        assert named.cascade_id == "mock"
        deferred = await cluster.stub.Generate(request("two owls 0.1"))
        assert (deferred.cascade_id, deferred.worker_id) == ("swift", "w2")
        (begun,) = await asyncio.gather(*heavy)
        assert (begun.cascade_id, begun.outcome) == ("mock", common_pb2.OUTCOME_HEAVY)
        assert [ledger.num_in_progress(c) for c in ("mock", "swift")] == [0, 0]
        assert [ledger.num_arrivals(c) for c in ("mock", "swift")] == [2, 2]


async def test_everything_that_lists_cascades_lists_the_activated_ones() -> None:
    async with running_cluster() as cluster:
        application = cluster.application
        await bring(cluster, activation(), plan_id=2)
        assert application._http is not None
        url = f"http://127.0.0.1:{application._http.port}"
        async with httpx.AsyncClient(base_url=url) as client:
            models = (await client.get("/v1/models")).json()
            assert [row["id"] for row in models["data"]] == ["mock", "swift"]
            assert (await client.get("/v1/models/swift")).status_code == 200
            page = (await client.get("/api/playground")).json()
            assert (page["default"], page["models"]) == ("swift", ["mock", "swift"])
            assert 'cascade="swift"' in (await client.get("/metrics")).text
        reporter = Reporter("lb", application._catalog, application.balancer, None)  # type: ignore[arg-type]
        assert set(reporter.report().cascades) == {"mock", "swift"}


async def test_a_plan_without_the_activation_goes_back_to_the_catalog() -> None:
    async with running_cluster() as cluster:
        await bring(cluster, activation(), plan_id=2)
        await bring(cluster, "", plan_id=3)
        answer = await cluster.stub.Generate(request("an owl 0.9"))
        assert answer.cascade_id == "mock"


def test_what_does_not_fit_is_logged_once_and_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    catalog = CatalogInForce(MOCK)
    unknown = Activation(default_cascade="nosuch").to_json()
    for number, text in enumerate((unknown, unknown, "{broken"), start=1):
        assert not catalog.follow(text, plan_id=number)
    assert catalog.current is MOCK
    assert len(caplog.records) == 2
    assert "'nosuch'" in caplog.text
