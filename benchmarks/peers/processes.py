"""Starts a peer as processes of its own and ends every one of them, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.adapters.mock import CONFIG_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.2


class PeerError(Exception):
    """A peer could not be installed or started; says why in a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a peer is started.

    Attributes:
        command: Program and arguments.
        config: What to serve, for the adapter.
        directory: For the adapter's file, the log, and whatever the peer keeps in its home.
        environment: More variables.
    """

    command: Sequence[str]
    config: Mapping[str, Any]
    directory: Path
    environment: Mapping[str, str]


@contextlib.asynccontextmanager
async def running(launch: Launch, is_ready: Callable[[], Awaitable[bool]]) -> AsyncIterator[int]:
    """Run a peer until the block ends; yield the process id once it answers.

    Raises:
        PeerError: it ended, or did not answer in time.
    """
    launch.directory.mkdir(parents=True, exist_ok=True)
    config = launch.directory / "config.json"
    config.write_text(json.dumps(launch.config), encoding="utf-8")
    environment = {
        **os.environ,
        "HOME": str(launch.directory),
        "PYTHONPATH": str(ROOT),
        CONFIG_VARIABLE: str(config),
        **launch.environment,
    }
    path = launch.directory / "peer.log"
    with path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *launch.command, cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    try:
        await _ready(process, is_ready, path)
        yield process.pid
    finally:
        await stop(process)
        for pid in marked(f"{CONFIG_VARIABLE}={config}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def _ready(
    process: asyncio.subprocess.Process, is_ready: Callable[[], Awaitable[bool]], log: Path
) -> None:
    for _ in range(int(START_TIMEOUT_S / POLL_S)):
        if process.returncode is not None:
            raise PeerError(f"ended with status {process.returncode} at the start: {_last(log)}")
        if await is_ready():
            return
        await asyncio.sleep(POLL_S)
    raise PeerError(f"did not answer within {START_TIMEOUT_S:g} s: {_last(log)}")


def _last(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"


async def stop(process: asyncio.subprocess.Process) -> None:
    """End a process and all that it started, also what moved to sessions of its own."""
    started = descendants(process.pid)
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
    for pid, began in started.items():
        # The number may be another process's by now: only the same start is the same process.
        if _began(pid) == began:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if process.returncode is None:
        process.kill()
        await process.wait()


def descendants(pid: int) -> dict[int, str]:
    """Return the processes below one, and when each began, in the system's ticks."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: dict[int, str] = {}
    left = [pid]
    while left:
        for child in children.get(left.pop(), []):
            found[child] = _began(child)
            left.append(child)
    return found


def marked(variable: str) -> list[int]:
    """Return the processes that were started with ``NAME=value`` in their environment.

    What outlives the process that started it is nobody's descendant any more.
    """
    wanted = variable.encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def rss_bytes(pid: int) -> int:
    """Return the resident memory of a process and all below it, shared pages counted for each."""
    pages = 0
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(OSError):
            pages += int(Path(f"/proc/{one}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _began(pid: int) -> str:
    fields = _fields(pid)
    return fields[19] if fields else ""


def _fields(pid: int) -> list[str]:
    """Return what the system says of a process after its name; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []
