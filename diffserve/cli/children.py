"""One child process of ``diffserve up``: start it, know when it serves, end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from diffserve.cli.fleet import ChildSpec

PROBE_PERIOD_S = 0.1
PROBE_TIMEOUT_S = 2.0
BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 10.0
STABLE_S = 30.0
"""A child that lived this long starts again with the first backoff."""
TAIL_BYTES = 4096

LAUNCHER = Path(__file__).with_name("launch.py")


class Child:
    """A process that is started again under the same name, port and log file."""

    def __init__(self, spec: ChildSpec, root: Path, run_directory: Path) -> None:
        self.spec = spec
        self.log_path = run_directory / f"{spec.name}.log"
        self.started_s = 0.0
        self._root = root
        self._process: asyncio.subprocess.Process | None = None
        self._backoff_s = BACKOFF_FIRST_S

    @property
    def pid(self) -> int:
        """Process id of the current incarnation; 0 before the first."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Start the process in a session of its own, so that Ctrl-C reaches only the parent."""
        self.kill()  # A crashed incarnation may have left children of its own.
        launcher = (sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()))
        with self.log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *launcher,
                *self.spec.command,
                cwd=self._root,
                env={**os.environ, **self.spec.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started_s = time.monotonic()

    async def wait(self) -> int:
        """Return the exit status once the process has ended; negative for a signal."""
        assert self._process is not None
        return await self._process.wait()

    def next_backoff_s(self) -> float:
        """Return how long to wait before starting again; doubles while it keeps failing."""
        if time.monotonic() - self.started_s > STABLE_S:
            self._backoff_s = BACKOFF_FIRST_S
        backoff_s = self._backoff_s
        self._backoff_s = min(2.0 * backoff_s, BACKOFF_MAX_S)
        return backoff_s

    async def serves(self) -> bool:
        """Return True once the process serves, False when it ended before."""
        ended = asyncio.create_task(self.wait())
        ready = asyncio.create_task(_until_ready(self.spec))
        try:
            await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED)
            return ready.done()
        finally:
            ended.cancel()
            ready.cancel()

    async def end(self, grace_s: float) -> bool:
        """Stop the process and all that it started; return False when it had to be killed."""
        if self._process is None:
            return True
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(grace_s):
                await self.wait()
            return True
        except TimeoutError:
            return False
        finally:
            self.kill()

    def kill(self) -> None:
        """Kill what is left of the process's session, at once."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def last_words(self, num_lines: int = 1) -> str:
        """Return the end of the log; a single line without its time stamp and level."""
        with contextlib.suppress(OSError), self.log_path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = log.read().decode(errors="replace").strip().splitlines()[-num_lines:]
            text = "\n".join(lines)
            return text if num_lines > 1 else text.split(f" {self.spec.kind} ", 1)[-1]
        return ""


def describe_exit(status: int) -> str:
    """Return an exit status in words."""
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"


async def _until_ready(spec: ChildSpec) -> None:
    probe = _redis_answers if spec.kind == "redis" else _is_serving
    while not await probe(spec.address):  # noqa: ASYNC110 - another process sets no event here
        await asyncio.sleep(PROBE_PERIOD_S)


async def _is_serving(address: str) -> bool:
    """Return whether grpc.health.v1 reports SERVING."""
    async with grpc.aio.insecure_channel(address) as channel:
        request = health_pb2.HealthCheckRequest()
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(
                request, timeout=PROBE_TIMEOUT_S
            )
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def _redis_answers(address: str) -> bool:
    """Return whether a Redis-protocol server answers PING."""
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"PING\r\n")
            answer = await reader.readline()
            writer.close()
            return answer.startswith(b"+PONG")
    return False
