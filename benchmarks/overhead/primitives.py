"""What single gRPC operations cost in Python: the floor under every figure of this benchmark."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import grpc
import uvloop

from benchmarks.common.raw_grpc import LOOPBACK, ROOT, START_TIMEOUT_S
from benchmarks.overhead.cpu import cpu_s
from diffserve.rpc.channel import open_channel
from diffserve.telemetry.server import free_port

PAYLOAD = bytes(200)
WARM_UP = 50
NAMES = ("one call", "a call answered by 2 messages", "a message and its answer on an open stream")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one operation takes.

    Attributes:
        what: In words.
        p50_s: From start to end.
        client_s: CPU of the calling process.
        server_s: CPU of the other one.
    """

    what: str
    p50_s: float
    client_s: float
    server_s: float


async def _one(request: bytes, context: Any) -> bytes:
    return request


async def _two(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield request
    yield request


async def _echo(_: Any, context: Any) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        await context.write(message)


async def serve(port: int) -> None:
    """Serve the operations until the process is ended."""
    server = grpc.aio.server()
    handlers: dict[str, Any] = {
        "one": grpc.unary_unary_rpc_method_handler(_one),
        "two": grpc.unary_stream_rpc_method_handler(_two),
        "echo": grpc.stream_stream_rpc_method_handler(_echo),
    }
    generic = grpc.method_handlers_generic_handler("primitives", handlers)
    server.add_generic_rpc_handlers((generic,))
    server.add_insecure_port(f"{LOOPBACK}:{port}")
    await server.start()
    await server.wait_for_termination()


async def costs(seconds: float) -> list[Cost]:
    """Measure each operation for so long, one at a time."""
    port = free_port()
    command = (sys.executable, "-m", "benchmarks.overhead.primitives", f"--serve={port}")
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    try:
        async with open_channel(f"{LOOPBACK}:{port}", retries=False) as opened:
            async with asyncio.timeout(START_TIMEOUT_S):
                await opened.channel_ready()
            channel = cast(Any, opened)  # bytes in, bytes out: there are no messages to have types
            one = channel.unary_unary("/primitives/one")
            two = channel.unary_stream("/primitives/two")
            stream = channel.stream_stream("/primitives/echo")()

            async def call() -> None:
                await one(PAYLOAD, timeout=30.0)

            async def answered_twice() -> None:
                async for _ in two(PAYLOAD, timeout=30.0):
                    pass

            async def on_stream() -> None:
                await stream.write(PAYLOAD)
                await stream.read()

            made: tuple[Callable[[], Awaitable[None]], ...] = (call, answered_twice, on_stream)
            found = [
                await _cost(name, operation, seconds, process.pid)
                for name, operation in zip(NAMES, made, strict=True)
            ]
            stream.cancel()
            return found
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _cost(
    what: str, operation: Callable[[], Awaitable[None]], seconds: float, server: int
) -> Cost:
    for _ in range(WARM_UP):
        await operation()
    latencies: list[float] = []
    own_s, other_s, end_s = time.process_time(), cpu_s(server), time.monotonic() + seconds
    while (began_s := time.monotonic()) < end_s:
        await operation()
        latencies.append(time.monotonic() - began_s)
    count = len(latencies)
    own_s, other_s = time.process_time() - own_s, cpu_s(server) - other_s
    return Cost(what, sorted(latencies)[count // 2], own_s / count, other_s / count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="serve gRPC operations that do nothing")
    parser.add_argument("--serve", type=int, required=True, help="port")
    uvloop.run(serve(parser.parse_args().serve))
