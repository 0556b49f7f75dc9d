"""Every metric of the dashboard against what a client counted, on all services as processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from urllib.request import urlopen

import pytest

from diffserve.observability.table import METRICS, Kind
from tests.e2e.stack import Stack, offer, running_stack
from tests.metrics import parsed

NUM_QUERIES = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("metrics")
    with running_stack(directory, "--catalog=mock", "--workers=3", "--http-port=0") as running:
        yield running


def scrape(stack: Stack, name: str) -> dict[str, float]:
    with urlopen(stack.ready["metrics"][name], timeout=10) as answer:
        return parsed(answer.read().decode())


def summed(found: dict[str, float], prefix: str) -> float:
    return sum(value for name, value in found.items() if name.startswith(prefix))


async def test_metrics_agree_with_the_client_before_and_after_a_controllers_death(
    stack: Stack,
) -> None:
    assert set(stack.ready["metrics"]) == set(stack.ready["endpoints"]) - {"redis"}
    load = await offer(stack, [f"prompt {i}" for i in range(NUM_QUERIES)], rate_qps=20.0)
    await asyncio.sleep(0.5)
    door = scrape(stack, "loadbalancer")
    outcomes = load.outcomes()
    assert len(load.responses) + len(load.errors) == NUM_QUERIES
    assert door["diffserve_queries_arrived_total{cascade=mock}"] == NUM_QUERIES
    for outcome in ("light", "heavy", "light_fallback"):
        name = f"diffserve_queries_finished_total{{cascade=mock,outcome={outcome}}}"
        assert door[name] == outcomes[outcome]
        counted = f"diffserve_query_duration_seconds_count{{cascade=mock,outcome={outcome}}}"
        assert door.get(counted, 0.0) == outcomes[outcome]
    good = door["diffserve_queries_good_total{cascade=mock}"]
    violations = summed(door, "diffserve_slo_violations_total{")
    assert good + violations == NUM_QUERIES
    assert violations >= len(load.errors)
    assert summed(door, "diffserve_queries_in_progress{") == 0
    assert summed(door, "diffserve_queries_waiting{") == 0
    total_s = sum(answer.times.total_s for answer in load.responses.values())
    assert summed(door, "diffserve_query_duration_seconds_sum{") == pytest.approx(total_s)
    scored = [a.confidence for a in load.responses.values() if a.HasField("confidence")]
    discriminator = scrape(stack, "discriminator")
    name = "diffserve_discriminator_confidence_ratio"
    assert discriminator[f"{name}_count{{discriminator=mock,variant=mock-light}}"] >= len(scored)
    workers = [scrape(stack, f"worker-{index}") for index in range(3)]
    sent = summed(door, "diffserve_batch_size_count{")
    ran = sum(summed(w, "diffserve_worker_batches_total{") for w in workers)
    assert ran >= sent  # shadow runs are the workers' alone
    controller = scrape(stack, "controller")
    assert summed(controller, "diffserve_controller_workers{") == 3
    assert controller["diffserve_controller_registered_workers{state=ready}"] == 3
    assert controller["diffserve_controller_redis_connected"] == 1
    status = await stack.status()
    assert controller["diffserve_controller_plan_id"] <= status.plan.plan_id
    check_tables(stack)

    os.kill(stack.pid("controller"), signal.SIGKILL)
    async with asyncio.timeout(30):
        while not await is_planning(stack, controller["diffserve_controller_plan_id"]):
            await asyncio.sleep(0.2)
    again = scrape(stack, "loadbalancer")
    assert again["diffserve_queries_arrived_total{cascade=mock}"] == NUM_QUERIES
    assert summed(scrape(stack, "controller"), "diffserve_controller_workers{") == 3


def check_tables(stack: Stack) -> None:
    """Every metric of every table is there, and nothing of ours that is in no table."""
    for service, table in METRICS.items():
        name = "worker-0" if service == "worker" else service
        with urlopen(stack.ready["metrics"][name], timeout=10) as answer:
            text = answer.read().decode()
        declared = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE diff")}
        assert declared == {metric.name for metric in table}
        read = {m.name for m in table if m.is_read and m.kind is Kind.GAUGE}
        found = {name.partition("{")[0] for name in parsed(text)}
        assert read <= found


async def is_planning(stack: Stack, since_plan_id: float) -> bool:
    try:
        found = scrape(stack, "controller")
    except OSError:
        return False
    is_newer = found["diffserve_controller_plan_id"] > since_plan_id
    return is_newer and found["diffserve_controller_registered_workers{state=ready}"] == 3
