"""Worker and discriminator as processes, started as the README says."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from diffserve.rpc.channel import open_channel
from diffserve.rpc.server import SERVING
from diffserve.rpc.v1 import worker_pb2, worker_pb2_grpc
from tests.services.worker.harness import NOWHERE, collect, request

ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith("DIFFSERVE_")
}


@asynccontextmanager
async def process(
    module: str, *flags: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Start a service on a free port; yield it and its address once it serves."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, "--catalog", "mock", "--port", "0", *flags),
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert child.stderr is not None
    try:
        async with asyncio.timeout(20.0):
            while line := (await child.stderr.readline()).decode():
                if found := re.search(r"serving on (\S+:\d+)", line):
                    break
            else:
                pytest.fail(f"{module} ended with status {await child.wait()}")
        yield child, found[1]
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def test_sigterm_finishes_accepted_work_and_ends_the_process() -> None:
    async with (
        process("services.discriminator") as (scorer, scorer_address),
        process(
            "services.worker",
            *("--discriminator-address", scorer_address, "--controller-address", NOWHERE),
        ) as (worker, address),
        open_channel(address) as channel,
    ):
        health = health_pb2_grpc.HealthStub(channel)
        asked = health_pb2.HealthCheckRequest(service="diffserve.rpc.v1.Worker")
        assert (await health.Check(asked)).status == SERVING
        stub = worker_pb2_grpc.WorkerStub(channel)
        call = stub.Execute(request("mock-heavy", "a", "b", discriminator="mock"))
        running = asyncio.ensure_future(collect(call))
        await asyncio.sleep(0.1)
        worker.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.05)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await collect(stub.Execute(request("mock-light", "c")))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        answer = await running
        assert all(r.image.data and r.HasField("confidence") for r in answer.results.values())
        assert await asyncio.wait_for(worker.wait(), 5.0) == 0
        scorer.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(scorer.wait(), 5.0) == 0


@pytest.mark.parametrize("module", ["services.worker", "services.discriminator"])
def test_a_wrong_setting_is_one_line_and_status_two(module: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", module, "--catalog", "no-such-catalog"],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=30,
    )
    assert ended.returncode == 2
    assert "catalog: no file" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_mock_deployment_imports_no_torch() -> None:
    subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys, services.worker.__main__, services.discriminator.__main__\n"
            "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)",
        ],
        check=True,
        timeout=30,
    )


async def test_a_restart_finishes_accepted_work_and_ends_with_status_75() -> None:
    async with (
        process("services.worker", "--controller-address", NOWHERE) as (worker, address),
        open_channel(address) as channel,
    ):
        stub = worker_pb2_grpc.WorkerStub(channel)
        running = asyncio.ensure_future(collect(stub.Execute(request("mock-heavy", "a"))))
        await asyncio.sleep(0.1)
        answer = await stub.Restart(worker_pb2.RestartRequest())
        assert (answer.exit_status, answer.num_running) == (75, 1)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await collect(stub.Execute(request("mock-light", "c")))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert all(result.image.data for result in (await running).results.values())
        assert await asyncio.wait_for(worker.wait(), 5.0) == 75
