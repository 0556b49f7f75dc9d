"""Interleaved rounds of the three measurements: cost of a query, batching, a lone query's wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.common.closed_loop import Call, Sample, measure
from benchmarks.common.raw_grpc import raw_server
from benchmarks.overhead.targets import (
    CALL_TIMEOUT_S,
    by_client,
    by_stub,
    deployment,
    request_of,
    unary,
)
from diffserve.client import AsyncClient

CONCURRENCY = 16
WARM_UP_S = 2.0
"""Load on each system before the first round, discarded."""
SETTLE_S = 0.3
"""Load at the beginning of every measurement, not counted."""
BATCH_EXECUTION_S = 0.1
BATCH_IDEAL_QPS = 40.0
"""One worker, 4 queries per 0.1 s."""

OnProgress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """How long to measure.

    Attributes:
        rounds: Interleaved rounds.
        seconds: Of each measurement in a round.
    """

    rounds: int = 5
    seconds: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRound:
    """One round with no-op models, by system.

    ``raw`` is the baseline, ``diffserve`` is called by the Python client, ``call`` by a gRPC call
    for every query; ``stream`` is the Python client at the baseline.

    Attributes:
        alone: One caller.
        loaded: ``CONCURRENCY`` callers.
    """

    alone: dict[str, Sample]
    loaded: dict[str, Sample]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRound:
    """One round with the 100 ms model.

    Attributes:
        rate_qps: Answers per second with ``CONCURRENCY`` callers.
        waits_s: How long each query of a single caller waited in the queue, by the load
            balancer's clock, ascending.
        added_s: Latency of each beyond the execution, by the client's clock, ascending.
    """

    rate_qps: float
    waits_s: tuple[float, ...]
    added_s: tuple[float, ...]


async def image_bytes(address: str) -> int:
    """Return the size of the deployment's images, so that the baseline answers as many bytes."""
    async with by_stub(address) as stub:
        response = await stub.Generate(request_of(0), timeout=CALL_TIMEOUT_S)
    return len(response.image.data)


async def cost_rounds(parameters: Parameters, on_progress: OnProgress) -> list[CostRound]:
    """Measure no-op models against the baseline, system after system in every round."""
    async with deployment("noop") as fleet:
        num_bytes = await image_bytes(fleet.loadbalancer)
        async with (
            raw_server(num_bytes) as raw_address,
            by_stub(raw_address) as raw,
            by_stub(fleet.loadbalancer) as ours,
            AsyncClient(fleet.loadbalancer) as client,
            AsyncClient(raw_address) as streaming,
        ):
            calls = {
                "raw": unary(raw),
                "diffserve": by_client(client),
                "call": unary(ours),
                "stream": by_client(streaming),
            }
            for call in calls.values():
                await measure(call, CONCURRENCY, WARM_UP_S)
            rounds = []
            for number in range(parameters.rounds):
                alone, loaded = {}, {}
                for name, call in calls.items():
                    on_progress(f"round {number + 1} of {parameters.rounds}: {name}")
                    alone[name] = await measure(call, 1, parameters.seconds, SETTLE_S)
                    loaded[name] = await measure(call, CONCURRENCY, parameters.seconds, SETTLE_S)
                rounds.append(CostRound(alone=alone, loaded=loaded))
            return rounds


async def batch_rounds(parameters: Parameters, on_progress: OnProgress) -> list[BatchRound]:
    """Measure how full the worker is kept, and what a lone query waits for."""
    async with deployment("batch") as fleet, AsyncClient(fleet.loadbalancer) as client:
        await measure(by_client(client), CONCURRENCY, WARM_UP_S)
        rounds = []
        for number in range(parameters.rounds):
            on_progress(f"round {number + 1} of {parameters.rounds}: batches")
            ended_s = await _ends(by_client(client), 2.0 * parameters.seconds)
            waits_s: list[float] = []
            added_s: list[float] = []
            end_s = time.monotonic() + parameters.seconds
            while (sent_s := time.monotonic()) < end_s:
                image = await client.generate("a red ball", seed=len(waits_s))
                added_s.append(time.monotonic() - sent_s - BATCH_EXECUTION_S)
                waits_s.append(image.stage_s["light_queue"])
            rounds.append(
                BatchRound(
                    rate_qps=batched_qps(ended_s),
                    waits_s=tuple(sorted(waits_s)),
                    added_s=tuple(sorted(added_s)),
                )
            )
        return rounds


async def _ends(call: Call, seconds: float) -> list[float]:
    """Return when each answer came, ascending, with ``CONCURRENCY`` callers."""
    ended_s: list[float] = []

    async def noted(number: int) -> None:
        await call(number)
        ended_s.append(time.monotonic())

    await measure(noted, CONCURRENCY, seconds)
    # The first batches were formed before all callers were there, the last ones after some left.
    begin_s, end_s = ended_s[0] + 5.0 * BATCH_EXECUTION_S, ended_s[0] + seconds
    return [at_s for at_s in ended_s if begin_s <= at_s <= end_s - 5.0 * BATCH_EXECUTION_S]


def batched_qps(ended_s: Sequence[float]) -> float:
    """Return answers per second from batch to batch, not from one end of the clock to the other.

    In a few seconds there are so few batches that one more or less would be 2 %.

    Args:
        ended_s: When each answer came, ascending; answers of a batch come almost together.
    """
    first_s = ended_s[0]
    later = sum(at_s > first_s + 0.5 * BATCH_EXECUTION_S for at_s in ended_s)
    last_s = ended_s[-1]
    start_of_last_s = next(at_s for at_s in ended_s if at_s > last_s - 0.5 * BATCH_EXECUTION_S)
    return later / (start_of_last_s - first_s)
