"""The whole deployment as a user runs it: `diffserve up` in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import admin_pb2, admin_pb2_grpc, common_pb2, generation_pb2
from diffserve.rpc.v1.generation_pb2_grpc import ImageGenerationStub

START_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Stack:
    """A running deployment.

    Attributes:
        ready: The document that `diffserve up --json` printed.
        process: The supervisor.
    """

    ready: dict[str, Any]
    process: subprocess.Popen[str]

    @property
    def door(self) -> str:
        return str(self.ready["endpoints"]["loadbalancer"])

    @property
    def http(self) -> str:
        return str(self.ready["http"])

    @property
    def controller(self) -> str:
        return str(self.ready["endpoints"]["controller"])

    def log(self, name: str) -> str:
        return (Path(self.ready["run_directory"]) / f"{name}.log").read_text()

    def pid(self, name: str) -> int:
        """Return the process id of a child's present incarnation."""
        if name == "redis":
            return int(self.ready["pids"][name])  # it rewrites its command line
        address = self.ready["endpoints"][name]
        port = address.rpartition(":")[2]
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                command = entry.read_bytes().split(b"\0")
                if f"--port={port}".encode() in command:
                    return int(entry.parent.name)
        raise AssertionError(f"{name} is not running")

    def cli(self, *arguments: str) -> Any:
        """Run `diffserve ... --json` and return its document."""
        command = [sys.executable, "-m", "diffserve.cli.main", *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    async def status(self) -> admin_pb2.Status:
        async with open_channel(self.controller) as channel:
            stub = admin_pb2_grpc.AdminStub(channel)
            return await stub.GetStatus(admin_pb2.GetStatusRequest(), timeout=5)


@contextlib.contextmanager
def running_stack(directory: Path, *flags: str, **environment: str) -> Iterator[Stack]:
    """Start a deployment on free ports; stop it and check that nothing is left."""
    ports = ("loadbalancer", "http", "controller", "worker", "discriminator")
    command = [
        *(sys.executable, "-m", "diffserve.cli.main", "up", "--json"),
        *(f"--{name}-port=0" for name in ports),
        *("--run-dir", str(directory), *flags),
    ]
    with (directory / "up.log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **environment},
        )
    assert process.stdout is not None
    try:
        ready = _read_document(process, directory)
        yield Stack(ready, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        process.stdout.close()
    left = [name for name, pid in ready["pids"].items() if Path(f"/proc/{pid}").exists()]
    assert not left, f"still running: {left}"


def _read_document(process: subprocess.Popen[str], directory: Path) -> dict[str, Any]:
    path = directory / "up.json"
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        if path.exists():
            with contextlib.suppress(json.JSONDecodeError):
                document: dict[str, Any] = json.loads(path.read_text())
                return document
        time.sleep(0.1)
    raise AssertionError(f"not ready:\n{(directory / 'up.log').read_text()}")


@dataclass
class Load:
    """What a client counted.

    Attributes:
        responses: Answers by query id.
        errors: Status codes of calls without an answer.
    """

    responses: dict[str, generation_pb2.GenerateResponse]
    errors: list[grpc.aio.AioRpcError]

    def outcomes(self) -> Counter[str]:
        """Return answers by outcome name, as in `diffserve status`."""
        names = common_pb2.Outcome.Name
        return Counter(
            names(answer.outcome).removeprefix("OUTCOME_").lower()
            for answer in self.responses.values()
        )


@contextlib.asynccontextmanager
async def door(stack: Stack) -> AsyncIterator[Any]:
    async with open_channel(stack.door) as channel:
        yield ImageGenerationStub(channel)


async def offer(stack: Stack, prompts: list[str], rate_qps: float, **fields: Any) -> Load:
    """Send prompts open-loop on an absolute schedule; wait for every outcome."""
    load = Load({}, [])
    async with door(stack) as stub:

        async def one(index: int, prompt: str) -> None:
            parameters = common_pb2.GenerationParameters(prompt=prompt, seed=index)
            request = generation_pb2.GenerateRequest(parameters=parameters, **fields)
            try:
                answer = await stub.Generate(request, timeout=60)
            except grpc.aio.AioRpcError as error:
                load.errors.append(error)
                return
            assert answer.query_id not in load.responses, "answered twice"
            load.responses[answer.query_id] = answer

        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for index, prompt in enumerate(prompts):
                await asyncio.sleep(max(0.0, began_s + index / rate_qps - time.monotonic()))
                group.create_task(one(index, prompt))
    return load
