"""E5 and E6: a server that is told to stop, one whose worker is killed, and health under load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.overhead.cpu import services
from benchmarks.overhead.targets import ENVIRONMENT
from benchmarks.peers.doors import OK, asked, http_client
from benchmarks.peers.environments import Peer
from benchmarks.peers.processes import PeerError
from benchmarks.peers.serial import CATALOG, client_ask, serving_serially
from diffserve.client import AsyncClient, Retries
from diffserve.core import Outcome
from diffserve.replay.compression import write_catalog
from diffserve.replay.deployment import DeploymentParameters, deployed

NUM_IN_FLIGHT, EXECUTION_S = 5, 0.5
UNDER_WAY_S = 0.2
"""The first query runs by then, the others wait."""
LATE_AFTER_S = 0.2
"""How long after the signal one more query is sent."""
PATIENCE_S = 30.0
PROBE_EXECUTION_S, PROBE_EVERY_S, NUM_PROBES = 2.0, 0.1, 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """What became of queries that were accepted before a signal.

    Attributes:
        answered: With an image.
        lost: Ended with an error, or never.
        late: How one that was sent after the signal ended.
        late_told_s: When its client knew, after sending it.
    """

    answered: int
    lost: int
    late: Outcome
    late_told_s: float


@dataclass(slots=True)
class Running:
    """A serial server, and how to do harm to it.

    Attributes:
        ask: Sends a query, given its number and the patience of its client.
        health_url: Answers GET with 200 while the server is well.
        stop: Tells all of it to stop, as an operator would; returns once it has.
        worker_pid: Returns the process with the device.
    """

    ask: Callable[[int, float], Awaitable[Outcome]]
    health_url: str
    stop: Callable[[], Awaitable[None]]
    worker_pid: Callable[[], int]


@contextlib.asynccontextmanager
async def peer_running(peer: Peer, execution_s: float) -> AsyncIterator[Running]:
    """Run a peer with one serial worker."""
    with tempfile.TemporaryDirectory(prefix="peers-") as directory:
        log = Path(directory) / "executions.txt"
        async with serving_serially(peer, execution_s, 0, log) as door:

            async def stop() -> None:
                os.kill(door.pid, signal.SIGTERM)

            yield Running(
                ask=lambda number, patience_s: asked(door, number, patience_s),
                health_url=door.url.removesuffix(peer.path) + peer.health_path,
                stop=stop,
                worker_pid=lambda: int(log.read_text(encoding="utf-8").split()[-1]),
            )


@contextlib.asynccontextmanager
async def diffserve_running(execution_s: float) -> AsyncIterator[Running]:
    """Run a deployment with one serial worker."""
    with tempfile.TemporaryDirectory(prefix="peers-") as directory:
        catalog = Path(directory) / "catalog.toml"
        write_catalog(str(CATALOG), 1.0 / execution_s, catalog)
        parameters = DeploymentParameters(
            catalog=str(catalog), num_workers=1, environment=ENVIRONMENT, directory=Path(directory)
        )
        async with contextlib.AsyncExitStack() as stopping:
            fleet = await stopping.enter_async_context(deployed(parameters, lambda line: None))
            # Ends after the deployment, which answers on it while it stops.
            async with AsyncClient(fleet.loadbalancer, retries=Retries(num_max=0)) as client:
                yield Running(
                    ask=client_ask(client),
                    health_url=f"http://{fleet.http}/healthz",
                    stop=stopping.aclose,
                    worker_pid=lambda: services()["worker"],
                )


async def stopped(system: Running) -> Stopping:
    """Return what becomes of accepted queries when the server is told to stop. E5."""
    return await _after(system, system.stop)


async def killed(system: Running) -> Stopping:
    """Return what becomes of accepted queries when the worker is killed. E5."""

    async def kill() -> None:
        os.kill(system.worker_pid(), signal.SIGKILL)

    return await _after(system, kill)


async def _after(system: Running, harm: Callable[[], Awaitable[None]]) -> Stopping:
    numbers = range(1, NUM_IN_FLIGHT + 1)
    accepted = [asyncio.create_task(_ask(system, n)) for n in numbers]
    await asyncio.sleep(UNDER_WAY_S)
    harming = asyncio.create_task(_quietly(harm()))
    await asyncio.sleep(LATE_AFTER_S)
    began_s = time.monotonic()
    late = await _ask(system, NUM_IN_FLIGHT + 1)
    late_told_s = time.monotonic() - began_s
    outcomes = await asyncio.gather(*accepted)
    await harming
    answered = sum(outcome.is_answered for outcome in outcomes)
    return Stopping(
        answered=answered, lost=len(outcomes) - answered, late=late, late_told_s=late_told_s
    )


async def _ask(system: Running, number: int) -> Outcome:
    return await system.ask(number, PATIENCE_S)


async def _quietly(harm: Awaitable[None]) -> None:
    with contextlib.suppress(ProcessLookupError):
        await harm


async def slowest_probe_s(system: Running) -> float:
    """Return the longest that health took to answer while a batch ran. E6.

    Raises:
        PeerError: it did not answer well.
    """
    running = asyncio.create_task(_ask(system, 1))
    await asyncio.sleep(UNDER_WAY_S)
    slowest_s = 0.0
    async with http_client() as client:
        for _ in range(NUM_PROBES):
            began_s = time.monotonic()
            try:
                async with client.get(system.health_url) as answer:
                    status = answer.status
            except aiohttp.ClientError as error:
                raise PeerError(f"no answer at {system.health_url}: {error}") from error
            if status != OK:
                raise PeerError(f"{system.health_url} answered {status}")
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            await asyncio.sleep(PROBE_EVERY_S)
        still_runs = not running.done()
    outcome = await running
    # A door that is deaf while a batch runs answers the first probe when that is over.
    was_deaf = slowest_s > 0.5 * PROBE_EXECUTION_S
    if not (outcome.is_answered and (still_runs or was_deaf)):
        raise PeerError(f"the query that was to run meanwhile ended as {outcome.value}")
    return slowest_s
