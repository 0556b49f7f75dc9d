"""A deployment for the length of a replay, run by the supervisor of ``diffserve up``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import grpc

from diffserve.cli.fleet import Fleet, checkout_root, plan_fleet
from diffserve.cli.output import CliError
from diffserve.cli.supervisor import Supervisor
from diffserve.config import UpSettings, load_settings
from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import admin_pb2, admin_pb2_grpc

SETTLE_TIMEOUT_S = 60.0
SETTLE_S = 1.0
"""Between the plan with all workers and the first query: the load balancer finds them."""
POLL_S = 0.1
CALL_TIMEOUT_S = 5.0
GRACE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentParameters:
    """What runs.

    Attributes:
        catalog: Name or path.
        num_workers: Worker processes.
        environment: Settings of the services besides the present environment.
        directory: Where logs go; made if need be.
    """

    catalog: str
    num_workers: int
    environment: Mapping[str, str]
    directory: Path


@contextlib.asynccontextmanager
async def deployed(
    parameters: DeploymentParameters, report: Callable[[str], None]
) -> AsyncIterator[Fleet]:
    """Run a deployment on free ports until the block ends.

    Args:
        parameters: What runs.
        report: Called with one line for people whenever a process comes or goes.

    Raises:
        CliError: something did not start.
        ConfigError: a setting is wrong, or there is no checkout.
    """
    parameters.directory.mkdir(parents=True, exist_ok=True)
    flags = {"catalog": parameters.catalog, "grace_s": GRACE_S, "redis_url": ""}
    ports = ("controller", "loadbalancer", "http", "worker", "discriminator", "redis")
    settings = load_settings(
        UpSettings,
        environ={},
        flags={
            **flags,
            **{f"{name}_port": 0 for name in ports},
            "num_workers": parameters.num_workers,
        },
    )
    fleet = plan_fleet(settings, flags, parameters.directory, os.cpu_count() or 1)
    fleet = _with_environment(fleet, parameters.environment)
    supervisor = Supervisor(fleet, checkout_root(), parameters.directory, GRACE_S, report)
    keeping: asyncio.Task[None] | None = None
    try:
        await supervisor.start()
        keeping = asyncio.create_task(supervisor.keep())
        await _settled(fleet.controller, parameters.num_workers)
        yield fleet
    finally:
        if keeping is not None:
            keeping.cancel()
        await supervisor.stop()


def _with_environment(fleet: Fleet, environment: Mapping[str, str]) -> Fleet:
    stages = tuple(
        tuple(replace(child, environment={**child.environment, **environment}) for child in stage)
        for stage in fleet.stages
    )
    return replace(fleet, stages=stages)


async def _settled(controller: str, num_workers: int) -> None:
    """Return when the plan in force uses every worker."""
    until_s = time.monotonic() + SETTLE_TIMEOUT_S
    async with open_channel(controller) as channel:
        stub = admin_pb2_grpc.AdminStub(channel)
        placed = 0
        while time.monotonic() < until_s:
            with contextlib.suppress(grpc.aio.AioRpcError):
                plan = await stub.GetPlan(admin_pb2.GetPlanRequest(), timeout=CALL_TIMEOUT_S)
                placed = len(plan.placements)
            if placed == num_workers:
                await asyncio.sleep(SETTLE_S)
                return
            await asyncio.sleep(POLL_S)
    raise CliError(f"the plan uses {placed} of {num_workers} workers; see the controller's log")
