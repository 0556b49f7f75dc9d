"""E3 and E4: a worker that serves one query at a time, and clients that leave or come all at once.

What was executed is counted where it happens: by the mock device of a peer, and by the launches in
DiffServe's decision log.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.overhead.targets import ENVIRONMENT
from benchmarks.peers.doors import Door, asked, serving
from benchmarks.peers.environments import Peer
from benchmarks.peers.processes import PeerError
from diffserve.client import (
    AsyncClient,
    DeadlineError,
    DiffServeError,
    OverloadedError,
    Retries,
    UnavailableError,
)
from diffserve.core import Outcome
from diffserve.replay.compression import write_catalog
from diffserve.replay.deployment import DeploymentParameters, deployed

CATALOG = Path(__file__).resolve().parent / "serial.toml"
NUM_LEAVING, LEAVING_S, LEAVING_AFTER_S = 8, 1.0, 0.3
NUM_AT_ONCE, AT_ONCE_S, DEADLINE_S = 100, 0.2, 1.0
CAPACITY = 8
"""Of the queue, where peers are tuned: what the worker can serve in time, and a little more."""
NUM_BYTES = 300
QUIET_S = 1.0
"""A device that began nothing for two executions and this long has nothing left to do."""

Ask = Callable[[int, float], Awaitable[Outcome]]
"""Sends one query and leaves after so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """What came of so many queries at once.

    Attributes:
        in_time: Answered before the deadline.
        refused: Told so before the deadline.
        told_s_p99: When the slowest of all that were not answered knew it; the deadline where the
            server says nothing.
        executed: Queries that the device ran.
        executed_late: Of these, those begun after the deadline.
    """

    in_time: int
    refused: int
    told_s_p99: float
    executed: int
    executed_late: int


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A serial worker that runs, however it is called.

    Attributes:
        ask: Sends a query; numbers from 1, each once.
        executions_s: Returns when queries began to be executed, ``time.time()``.
    """

    ask: Ask
    executions_s: Callable[[], list[float]]


@contextlib.asynccontextmanager
async def serving_serially(
    peer: Peer, execution_s: float, capacity: int, log: Path
) -> AsyncIterator[Door]:
    """Run a peer whose device takes one query at a time.

    Args:
        peer: Which.
        execution_s: Of a query.
        capacity: Of the queue, where the peer has such a setting; 0: as it comes.
        log: Takes down what is executed.
    """
    config = {
        "seconds": [0.0, execution_s],
        "batch_max": 1,
        "batch_wait_s": 0.0,
        "num_bytes": NUM_BYTES,
        "capacity": capacity,
        "log": str(log),
    }
    async with serving(peer, "worker", config) as door:
        # A start may have cost several probes; none of them may be in the way now.
        await asyncio.sleep(execution_s + QUIET_S)
        yield door


@contextlib.asynccontextmanager
async def peer_system(peer: Peer, execution_s: float, capacity: int) -> AsyncIterator[System]:
    """Run a peer; its probes are number 0 and count for nothing."""
    with tempfile.TemporaryDirectory(prefix="peers-") as directory:
        log = Path(directory) / "executions.txt"
        async with serving_serially(peer, execution_s, capacity, log) as door:
            yield System(
                ask=lambda number, leave_s: asked(door, number, leave_s),
                executions_s=lambda: executions_of(log.read_text(encoding="utf-8")),
            )


def executions_of(log: str) -> list[float]:
    """Return when each query of a mock device's log began, but for the probes."""
    rows = (line.split() for line in log.splitlines())
    return [float(began_s) for number, began_s, _ in rows if number != "0"]


@contextlib.asynccontextmanager
async def diffserve_system(execution_s: float) -> AsyncIterator[System]:
    """Run a deployment with one worker."""
    with tempfile.TemporaryDirectory(prefix="peers-") as directory:
        catalog, log = Path(directory) / "catalog.toml", Path(directory) / "decisions.txt"
        write_catalog(str(CATALOG), 1.0 / execution_s, catalog)
        environment = {**ENVIRONMENT, "DIFFSERVE_LOADBALANCER_DECISION_LOG": str(log)}
        parameters = DeploymentParameters(
            catalog=str(catalog),
            num_workers=1,
            environment=environment,
            directory=Path(directory),
        )
        async with (
            deployed(parameters, lambda line: None) as fleet,
            AsyncClient(fleet.loadbalancer, retries=Retries(num_max=0)) as client,
        ):
            ask = client_ask(client, DEADLINE_S)
            # The log's clock starts elsewhere; its first arrival is our first query.
            began: list[float] = []

            async def noted(number: int, leave_s: float) -> Outcome:
                if not began:
                    began.append(time.time())
                return await ask(number, leave_s)

            # As long as the peers have after their start.
            await asyncio.sleep(execution_s + QUIET_S)
            yield System(
                ask=noted,
                executions_s=lambda: launches_of(log.read_text(encoding="utf-8"), began[0]),
            )


def client_ask(client: AsyncClient, deadline_s: float = 0.0) -> Ask:
    """Return how a query is sent to DiffServe.

    Args:
        client: Of its door; tries nothing again.
        deadline_s: Of queries whose clients wait for so long or longer; 0: they tell none.
    """

    async def ask(number: int, leave_s: float) -> Outcome:
        tells = 0.0 < deadline_s <= leave_s
        try:
            async with asyncio.timeout(leave_s):
                await client.generate(
                    "a red ball", seed=number, deadline_s=deadline_s if tells else None
                )
        except (TimeoutError, DeadlineError):
            return Outcome.EXPIRED
        except (OverloadedError, UnavailableError):  # what 429 and 503 are by HTTP
            return Outcome.REJECTED
        except DiffServeError:
            return Outcome.FAILED
        return Outcome.LIGHT

    return ask


def launches_of(log: str, first_s: float) -> list[float]:
    """Return when each query of a decision log was sent to a worker.

    Args:
        log: Its text.
        first_s: When its first query arrived, by the clock of the result.
    """
    offset_s: float | None = None
    launches_s: list[float] = []
    for line in log.splitlines():
        now_s, what, *rest = line.split()
        if what == "arrive" and offset_s is None:
            offset_s = first_s - float(now_s)
        if what == "launch" and offset_s is not None:
            launches_s += [float(now_s) + offset_s] * len(rest[-1].split(","))
    return launches_s


async def executions_after_leaving(system: System) -> int:
    """Return how many of the queries were executed whose clients left early. E3.

    Raises:
        PeerError: a client did not leave, as it was answered or refused before.
    """
    numbers = range(1, NUM_LEAVING + 1)
    outcomes = await asyncio.gather(*(system.ask(n, LEAVING_AFTER_S) for n in numbers))
    if any(outcome is not Outcome.EXPIRED for outcome in outcomes):
        raise PeerError(f"clients were to leave, but ended otherwise: {outcomes}")
    return len(await _all_executions_s(system, LEAVING_S))


async def overload(system: System) -> Overload:
    """Return what becomes of far too many queries at once. E4."""
    began_s = time.time()
    ended: list[tuple[Outcome, float]] = []

    async def one(number: int) -> None:
        outcome = await system.ask(number, DEADLINE_S)
        ended.append((outcome, time.time() - began_s))

    await asyncio.gather(*(one(number) for number in range(1, NUM_AT_ONCE + 1)))
    executions_s = await _all_executions_s(system, AT_ONCE_S)
    return overload_of(ended, [at_s - began_s for at_s in executions_s])


async def _all_executions_s(system: System, execution_s: float) -> list[float]:
    found = system.executions_s()
    while True:
        await asyncio.sleep(2.0 * execution_s + QUIET_S)
        before, found = found, system.executions_s()
        if len(found) == len(before):
            return found


def overload_of(ended: Sequence[tuple[Outcome, float]], executions_s: Sequence[float]) -> Overload:
    """Sum up: outcomes with their times, and executions, seconds since all were sent."""
    told_s = sorted(at_s for outcome, at_s in ended if not outcome.is_answered)
    return Overload(
        in_time=sum(outcome.is_answered for outcome, _ in ended),
        refused=sum(outcome is Outcome.REJECTED for outcome, _ in ended),
        told_s_p99=told_s[int(0.99 * (len(told_s) - 1))] if told_s else 0.0,
        executed=len(executions_s),
        executed_late=sum(at_s > DEADLINE_S for at_s in executions_s),
    )
