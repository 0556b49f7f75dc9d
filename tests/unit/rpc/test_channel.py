"""Peers that are gone without a word."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from diffserve.rpc.channel import open_channel

SERVER = """
import asyncio
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from diffserve.rpc.channel import channel_options

async def serve():
    server = grpc.aio.server(options=channel_options())
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()

asyncio.run(serve())
"""


async def test_a_peer_that_freezes_is_given_up_after_twice_the_keepalive() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        async with open_channel(f"127.0.0.1:{port}", retries=False, keepalive_s=1.0) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest())
            await watch.read()
            os.kill(process.pid, signal.SIGSTOP)
            frozen_s = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asyncio.wait_for(watch.read(), 20.0)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert time.monotonic() - frozen_s < 8.0
    finally:
        process.kill()
        await process.wait()
