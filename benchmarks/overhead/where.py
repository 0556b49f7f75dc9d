"""``python -m benchmarks.overhead.where``: which process takes how much CPU, and gRPC's floor."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer

from benchmarks.common.closed_loop import measure
from benchmarks.overhead.cpu import cpu_s, services
from benchmarks.overhead.measuring import CONCURRENCY, SETTLE_S, WARM_UP_S
from benchmarks.overhead.primitives import costs
from benchmarks.overhead.targets import by_client, by_stub, deployment, unary
from diffserve.cli.output import stderr, stdout, table
from diffserve.client import AsyncClient


async def cpu_by_process(seconds: float) -> dict[str, dict[str, float]]:
    """Return CPU seconds per query of every process, by who calls."""
    shares: dict[str, dict[str, float]] = {}
    async with (
        deployment("noop") as fleet,
        by_stub(fleet.loadbalancer) as stub,
        AsyncClient(fleet.loadbalancer) as client,
    ):
        await measure(by_client(client), CONCURRENCY, WARM_UP_S)
        pids = services()
        for title, call, callers in (
            ("1 caller", by_client(client), 1),
            (f"{CONCURRENCY} callers", by_client(client), CONCURRENCY),
            (f"{CONCURRENCY}, a call each", unary(stub), CONCURRENCY),
        ):
            before = {name: cpu_s(pid) for name, pid in pids.items()}
            client_s = time.process_time()
            # Load that is not counted would be paid for all the same.
            sample = await measure(call, callers, seconds)
            count = len(sample.latencies_s)
            shares[title] = {"client": (time.process_time() - client_s) / count}
            for name, pid in pids.items():
                shares[title][name] = (cpu_s(pid) - before[name]) / count
            await asyncio.sleep(SETTLE_S)
    return shares


def main(
    seconds: Annotated[float, typer.Option(min=0.5, help="of each measurement")] = 4.0,
) -> None:
    """Show where the time of a no-op query goes: CPU by process, and what gRPC takes at least."""
    with stderr().status("measuring single gRPC operations"):
        floor = asyncio.run(costs(seconds))
    shown = table("operation", ">p50, ms", ">CPU caller, ms", ">CPU server, ms")
    for cost in floor:
        shown.add_row(
            cost.what, *(f"{1000 * s:.3f}" for s in (cost.p50_s, cost.client_s, cost.server_s))
        )
    stdout().print(shown)
    with stderr().status("measuring a deployment"):
        shares = asyncio.run(cpu_by_process(seconds))
    shown = table("CPU per query, ms", *(f">{title}" for title in shares))
    for name in next(iter(shares.values())):
        shown.add_row(name, *(f"{1000 * share[name]:.3f}" for share in shares.values()))
    shown.add_row("sum", *(f"{1000 * sum(share.values()):.3f}" for share in shares.values()))
    stdout().print(shown)


if __name__ == "__main__":
    typer.run(main)
