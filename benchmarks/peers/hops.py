"""E1 and E2: what a hop costs without a model, and how full a batching worker is kept."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.common.closed_loop import Call, Sample, measure
from benchmarks.common.raw_grpc import raw_server
from benchmarks.overhead.targets import by_client, by_stub, deployment, unary
from benchmarks.peers.doors import OK, Door, asked, http_client, posted, serving
from benchmarks.peers.environments import Peer
from benchmarks.peers.processes import PeerError, rss_bytes
from diffserve.client import AsyncClient

if TYPE_CHECKING:
    import aiohttp

CONCURRENCY = 16
WARM_UP_S = 2.0
SETTLE_S = 0.3
TIMEOUT_S = 30.0
BATCH_MAX, BATCH_S, BATCH_WAIT_S = 4, 0.1, 0.01
IDEAL_QPS = BATCH_MAX / BATCH_S
RAW, OURS = "raw grpc.aio", "DiffServe"
OURS_BY_CALL, OURS_BY_HTTP = "DiffServe, a gRPC call each", "DiffServe, by HTTP"
NOOP: Mapping[str, Any] = {
    "seconds": [0.0] * (CONCURRENCY + 1),
    "batch_max": CONCURRENCY,
    "batch_wait_s": 0.001,
}
BATCHING: Mapping[str, Any] = {
    "seconds": [0.0] + [BATCH_S] * BATCH_MAX,
    "batch_max": BATCH_MAX,
    "batch_wait_s": BATCH_WAIT_S,
}
NUM_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class HopRounds:
    """Samples by system, one per round.

    Attributes:
        alone: One caller.
        loaded: ``CONCURRENCY`` callers.
        skipped: Why a peer is missing, by title.
        footprints: Seconds until a system answered, and its resident bytes, by title.
    """

    alone: Mapping[str, Sequence[Sample]]
    loaded: Mapping[str, Sequence[Sample]]
    skipped: Mapping[str, str]
    footprints: Mapping[str, tuple[float, int]]


async def hop_rounds(
    catalog: str,
    worker: Mapping[str, Any],
    peers: Sequence[Peer],
    rounds: int,
    seconds: float,
    on_progress: Callable[[str], None],
) -> HopRounds:
    """Measure all systems, one after the other in every round; all run all the time.

    Args:
        catalog: Of DiffServe, beside the benchmark of overheads.
        worker: ``NOOP`` or ``BATCHING``, the same for the peers.
        peers: Who else.
        rounds: How many.
        seconds: Of each measurement.
        on_progress: Called with a line for people.
    """
    skipped: dict[str, str] = {}
    footprints: dict[str, tuple[float, int]] = {}
    async with contextlib.AsyncExitStack() as stack:
        calls: dict[str, Call] = {}
        raw = await stack.enter_async_context(raw_server(NUM_BYTES, worker["seconds"][1]))
        calls[RAW] = unary(await stack.enter_async_context(by_stub(raw)))
        on_progress("starting DiffServe")
        began_s, before_bytes = time.monotonic(), rss_bytes(os.getpid())
        ours = await stack.enter_async_context(deployment(catalog))
        ready_s, bytes_now = time.monotonic() - began_s, rss_bytes(os.getpid())
        footprints[OURS] = (ready_s, bytes_now - before_bytes)
        ours_client = await stack.enter_async_context(AsyncClient(ours.loadbalancer))
        calls[OURS] = by_client(ours_client)
        calls[OURS_BY_CALL] = unary(await stack.enter_async_context(by_stub(ours.loadbalancer)))
        client = await stack.enter_async_context(http_client())
        calls[OURS_BY_HTTP] = _by_openai(client, f"http://{ours.http}/v1/images/generations")
        for peer, is_tuned in as_they_come_and_tuned(peers):
            title = f"{peer.title}, tuned" if is_tuned else peer.title
            on_progress(f"starting {title}")
            config = {**worker, "num_bytes": NUM_BYTES, "log": "", "capacity": 0}
            run = serving(peer, "worker", config, is_tuned=is_tuned)
            try:
                door = await stack.enter_async_context(run)
            except PeerError as failure:
                skipped[title] = str(failure)
                continue
            calls[title] = _by_http(door)
            footprints[title] = (door.ready_s, rss_bytes(door.pid))
        for call in calls.values():
            await measure(call, CONCURRENCY, WARM_UP_S)
        alone: dict[str, list[Sample]] = {name: [] for name in calls}
        loaded: dict[str, list[Sample]] = {name: [] for name in calls}
        for number in range(rounds):
            for name, call in calls.items():
                on_progress(f"round {number + 1} of {rounds}: {name}")
                alone[name].append(await measure(call, 1, seconds, SETTLE_S))
                loaded[name].append(await measure(call, CONCURRENCY, seconds, SETTLE_S))
    return HopRounds(alone=alone, loaded=loaded, skipped=skipped, footprints=footprints)


def as_they_come_and_tuned(peers: Sequence[Peer]) -> Iterator[tuple[Peer, bool]]:
    """Yield every peer, and again with True where it has settings for speed."""
    for peer in peers:
        yield peer, False
        if peer.tuned:
            yield peer, True


def _by_openai(client: aiohttp.ClientSession, url: str) -> Call:
    body = {"prompt": "a red ball", "n": 1, "response_format": "b64_json"}

    async def call(number: int) -> None:
        status, answer = await posted(client, url, body)
        if status != OK:
            raise PeerError(f"{OURS_BY_HTTP}: {status}: {answer[:200]!r}")

    return call


def _by_http(door: Door) -> Call:
    async def call(number: int) -> None:
        outcome = await asked(door, number, TIMEOUT_S)
        if not outcome.is_answered:
            raise PeerError(f"{door.peer.title}: a query ended as {outcome.value}")

    return call
