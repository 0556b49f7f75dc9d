"""Two load balancers share the workers of one deployment; one is killed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from diffserve.config import ControllerSettings
from diffserve.rpc.v1 import admin_pb2
from diffserve.telemetry.server import free_port
from tests.e2e.stack import Stack, offer, running_stack

PERIOD_S = ControllerSettings(redis_url="").planning_period_s


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("two")
    catalog = Path(__file__).with_name("slow.toml")
    with running_stack(directory, f"--catalog={catalog}", "--workers=4") as running:
        yield running


@contextlib.contextmanager
def second_balancer(stack: Stack, directory: Path) -> Iterator[tuple[Stack, subprocess.Popen[str]]]:
    """Start another load balancer of the deployment; yield it as a stack whose door it is."""
    first = stack.pid("loadbalancer")
    inherited = Path(f"/proc/{first}/environ").read_text().split("\0")
    environment = dict(row.partition("=")[::2] for row in inherited if row)
    command = [part for part in Path(f"/proc/{first}/cmdline").read_text().split("\0") if part]
    port, http_port = free_port(), free_port()
    flags = {"port": port, "http-port": http_port, "loadbalancer-id": "loadbalancer-1"}
    changed = [part for part in command if part.partition("=")[0].strip("-") not in flags]
    changed += [f"--{name}={value}" for name, value in flags.items()]
    with (directory / "second.log").open("w") as log:
        process = subprocess.Popen(
            changed, stdout=log, stderr=log, text=True, env={**os.environ, **environment}
        )
    endpoints = {**stack.ready["endpoints"], "loadbalancer": f"127.0.0.1:{port}"}
    other = dataclasses.replace(stack, ready={**stack.ready, "endpoints": endpoints})
    try:
        yield other, process
    finally:
        process.kill()
        process.wait()


async def shares(stack: Stack, names: set[str], within_s: float) -> admin_pb2.Status:
    """Return the first status whose plan knows just these load balancers."""
    deadline_s = time.monotonic() + within_s
    while time.monotonic() < deadline_s:
        status = await stack.status()
        if {row.loadbalancer_id for row in status.plan.loadbalancers} == names:
            return status
        await asyncio.sleep(0.1)
    raise AssertionError(f"no plan for {names}: {status.plan}")


def owners(status: admin_pb2.Status) -> dict[str, str]:
    return {p.worker_id: p.loadbalancer_id for p in status.plan.placements if p.loadbalancer_id}


async def test_both_serve_and_the_death_of_one_loses_nothing_of_the_other(
    stack: Stack, tmp_path: Path
) -> None:
    with second_balancer(stack, tmp_path) as (other, process):
        both = {"loadbalancer-0", "loadbalancer-1"}
        status = await shares(stack, both, within_s=20.0)
        assert set(owners(status).values()) <= both
        prompts = [f"prompt number {index}" for index in range(60)]
        loads: list[Any] = await asyncio.gather(
            offer(stack, prompts, rate_qps=6), offer(other, prompts, rate_qps=6)
        )
        assert [len(load.responses) for load in loads] == [60, 60]
        assert not loads[0].errors + loads[1].errors
        running = asyncio.create_task(offer(stack, prompts, rate_qps=6))
        lost = asyncio.create_task(offer(other, prompts[:20], rate_qps=6))
        await asyncio.sleep(2.0)
        process.kill()
        status = await shares(stack, {"loadbalancer-0"}, within_s=2 * PERIOD_S + 1.0)
        assert not owners(status), "alone, it may use every worker"
        first = await running
        assert len(first.responses) == 60
        assert not first.errors
        await lost
