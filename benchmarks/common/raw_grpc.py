"""The baseline of every comparison: one hop of grpc.aio that answers a prepared image.

It serves the same ``ImageGeneration.Generate`` as DiffServe, with the same messages and on the
same event loop, so that client and payload cancel out in a ratio. ``GenerateMany`` shows what an
open stream alone is worth.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import uvloop

from diffserve.rpc.channel import channel_options, open_channel
from diffserve.rpc.streams import Outbox, answer_many, join, split
from diffserve.rpc.v1 import common_pb2, generation_pb2, generation_pb2_grpc
from diffserve.telemetry.server import free_port

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 20.0
ROOT = Path(__file__).resolve().parents[2]


class RawServicer(generation_pb2_grpc.ImageGenerationServicer):
    """Answers every request at once, or after a pause, with the same bytes; two methods of four."""

    def __init__(self, num_bytes: int, delay_s: float) -> None:
        self._image = common_pb2.Image(data=os.urandom(num_bytes), media_type="image/png")
        self._delay_s = delay_s

    async def Generate(
        self,
        request: generation_pb2.GenerateRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> generation_pb2.GenerateResponse:
        """Return the image."""
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        return generation_pb2.GenerateResponse(
            query_id=request.query_id,
            image=self._image,
            outcome=common_pb2.OUTCOME_LIGHT,
            seed=request.parameters.seed,
        )

    async def GenerateMany(  # type: ignore[override]  # grpc takes coroutines that write, too
        self,
        request_iterator: AsyncIterator[generation_pb2.GenerateManyRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        """Return the image to every call of a stream."""

        async def answer(
            request: generation_pb2.GenerateManyRequest,
            outbox: Outbox[generation_pb2.GenerateManyResponse],
        ) -> None:
            response = await self.Generate(request.begin, context)
            outbox.send(
                generation_pb2.GenerateManyResponse(call_id=request.call_id, response=response)
            )

        await answer_many(context, answer, join, split)


async def serve(port: int, num_bytes: int, delay_s: float) -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server(options=[*channel_options(), ("grpc.so_reuseport", 0)])
    servicer = RawServicer(num_bytes, delay_s)  # type: ignore[abstract]  # two methods are enough
    generation_pb2_grpc.add_ImageGenerationServicer_to_server(servicer, server)
    server.add_insecure_port(f"{LOOPBACK}:{port}")
    await server.start()
    await server.wait_for_termination()


@contextlib.asynccontextmanager
async def raw_server(num_bytes: int, delay_s: float = 0.0) -> AsyncIterator[str]:
    """Run the baseline as a process of its own until the block ends; yield its address.

    Args:
        num_bytes: Size of the image in every answer.
        delay_s: What each answer waits for; 0: nothing.

    Raises:
        TimeoutError: it did not start.
    """
    port = free_port()
    flags = (f"--port={port}", f"--bytes={num_bytes}", f"--delay-s={delay_s}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.common.raw_grpc", *flags),
        cwd=ROOT,
    )
    try:
        address = f"{LOOPBACK}:{port}"
        async with open_channel(address) as channel:
            async with asyncio.timeout(START_TIMEOUT_S):
                await channel.channel_ready()
        yield address
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description="one hop of raw grpc.aio")
    parser.add_argument("--port", type=int, required=True, help="where to listen")
    parser.add_argument("--bytes", type=int, default=16, help="size of the image (default: 16)")
    parser.add_argument("--delay-s", type=float, default=0.0, help="pause before each answer")
    options = parser.parse_args()
    uvloop.run(serve(options.port, options.bytes, options.delay_s))


if __name__ == "__main__":
    main()
