"""Calls a peer by HTTP, with the open-loop client and the counting of DiffServe's own replays."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.peers.environments import ENVIRONMENT, LOOPBACK, Peer, install
from benchmarks.peers.processes import Launch, running
from diffserve.core import Outcome
from diffserve.replay.client import SOONEST_S
from diffserve.replay.open_loop import send_all
from diffserve.sim.report import Recorder
from diffserve.sim.workload import Arrival
from diffserve.telemetry.server import free_port

PROBE_TIMEOUT_S = 5.0
PATIENCE_S = 30.0
"""A call outlives its deadline by this, so that a late answer is counted as what it is."""
OK = 200
REFUSALS = (429, 503)


@dataclass(frozen=True, slots=True)
class Door:
    """A running peer.

    Attributes:
        peer: Who is called.
        kind: ``cascade`` or ``worker``.
        client: With as many connections as there are calls.
        url: What is called.
        pid: Of the process that started the others.
        ready_s: How long it took to answer its first query.
    """

    peer: Peer
    kind: str
    client: aiohttp.ClientSession
    url: str
    pid: int
    ready_s: float


def http_client() -> aiohttp.ClientSession:
    """Return a client with as many connections as there are calls, each kept open."""
    # Of the clients tried the fastest by far: it must not be slower than what it measures.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    )


async def posted(
    client: aiohttp.ClientSession, url: str, body: Mapping[str, Any]
) -> tuple[int, bytes]:
    """Return the status and the body of an answer.

    Raises:
        ClientError: there is none.
    """
    async with client.post(url, json=body) as answer:
        return answer.status, await answer.read()


@contextlib.asynccontextmanager
async def serving(
    peer: Peer, kind: str, config: Mapping[str, Any], *, is_tuned: bool = False
) -> AsyncIterator[Door]:
    """Run a peer's adapter until the block ends.

    Args:
        peer: Which; installed if need be.
        kind: ``cascade`` or ``worker``.
        config: What the adapter serves; where it listens is added here.
        is_tuned: With the peer's settings for speed.

    Raises:
        PeerError: it could not be installed or started.
    """
    await asyncio.to_thread(install, peer)
    port = free_port()
    path = "/" if kind == "cascade" else peer.path
    url = f"http://{LOOPBACK}:{port}{path}"
    began_s = time.monotonic()
    # A short path: Ray's sockets lie below it, and their names may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as scratch:
        launch = Launch(
            command=peer.command(kind, port),
            config={**config, "port": port, "scratch": scratch},
            directory=Path(scratch),
            environment={**ENVIRONMENT, **(peer.tuned if is_tuned else {})},
        )
        async with http_client() as client:

            async def is_ready() -> bool:
                try:
                    async with asyncio.timeout(PROBE_TIMEOUT_S):
                        status, _ = await posted(client, url, peer.query(kind, 0))
                except (TimeoutError, aiohttp.ClientError):
                    return False
                return status == OK

            async with running(launch, is_ready) as pid:
                yield Door(peer, kind, client, url, pid, time.monotonic() - began_s)


@dataclass(frozen=True, slots=True)
class Served:
    """What a run came to.

    Attributes:
        recorder: The simulator's own counts.
        lags_s: How late each query was sent.
    """

    recorder: Recorder
    lags_s: Sequence[float]


async def replay_http(
    door: Door, arrivals: Sequence[Arrival], slo_s: float, window_s: float
) -> Served:
    """Send every query at its time.

    Where the peer drops the work of clients that leave, they leave at the deadline, which is to its
    good. Elsewhere they stay: BentoML's services fail the batch-mates of a query whose client left.
    """
    recorder, lags_s = Recorder(window_s), [0.0] * len(arrivals)

    async def one(index: int, arrival: Arrival, began_s: float) -> None:
        recorder.arrived(arrival.arrival_s)
        sent_s = time.monotonic() - began_s
        lags_s[index] = sent_s - arrival.arrival_s
        left_s = max(SOONEST_S, arrival.arrival_s + slo_s - sent_s)
        patience_s = 0.0 if door.peer.drops_left else PATIENCE_S
        outcome = await asked(door, index, left_s + patience_s)
        recorder.finished(
            arrival.arrival_s, arrival.arrival_s + slo_s, outcome, time.monotonic() - began_s
        )

    await send_all(arrivals, one, lambda now_s: None)
    return Served(recorder, lags_s)


async def asked(door: Door, number: int, timeout_s: float) -> Outcome:
    """Return how one query ended."""
    try:
        async with asyncio.timeout(timeout_s):
            query = door.peer.query(door.kind, number)
            status, body = await posted(door.client, door.url, query)
    except TimeoutError:
        return Outcome.EXPIRED
    except aiohttp.ClientError:
        return Outcome.FAILED
    if status in REFUSALS:
        return Outcome.REJECTED
    if status != OK:
        return Outcome.FAILED
    is_heavy = door.kind == "cascade" and json.loads(body)["variant"] == "heavy"
    return Outcome.HEAVY if is_heavy else Outcome.LIGHT
