"""Child processes: readiness, endings, backoff, last words; with real processes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from diffserve.cli import children
from diffserve.cli.children import BACKOFF_FIRST_S, BACKOFF_MAX_S, Child, describe_exit
from diffserve.cli.fleet import ChildSpec
from diffserve.telemetry.server import find_server_binary, free_port, server_command


def child_of(directory: Path, *command: str, kind: str = "worker", port: int = 1) -> Child:
    spec = ChildSpec(name="c-0", kind=kind, command=command, address=f"127.0.0.1:{port}")
    return Child(spec, directory, directory)


def python_child(directory: Path, code: str) -> Child:
    return child_of(directory, sys.executable, "-c", code)


async def test_child_serves_until_it_is_ended(tmp_path: Path) -> None:
    port = free_port()
    command = server_command(find_server_binary(), port, tmp_path)
    child = child_of(tmp_path, *command, kind="redis", port=port)
    await child.start()
    assert await child.serves()
    assert await child.end(10.0)
    assert await child.wait() == 0


async def test_child_that_ends_at_once_never_serves(tmp_path: Path) -> None:
    child = python_child(tmp_path, "print('1:02:03 ERROR worker no such thing'); exit(3)")
    await child.start()
    assert not await child.serves()
    assert describe_exit(await child.wait()) == "exited with 3"
    assert child.last_words() == "no such thing"
    assert "ERROR" in child.last_words(5)


async def test_stubborn_child_is_killed(tmp_path: Path) -> None:
    code = "import signal,time; signal.signal(15, signal.SIG_IGN); print(1, flush=True);"
    child = python_child(tmp_path, code + "time.sleep(60)")
    await child.start()
    while not child.last_words():
        await asyncio.sleep(0.02)
    assert not await child.end(0.1)
    assert describe_exit(await child.wait()) == "was ended by SIGKILL"


async def test_child_that_was_never_started_is_ended_already(tmp_path: Path) -> None:
    child = python_child(tmp_path, "")
    assert child.pid == 0
    assert await child.end(1.0)
    assert child.last_words() == ""


async def test_backoff_doubles_and_forgets_after_a_stable_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = python_child(tmp_path, "")
    await child.start()
    await child.wait()
    waits = [child.next_backoff_s() for _ in range(10)]
    assert waits[:3] == [BACKOFF_FIRST_S, 2 * BACKOFF_FIRST_S, 4 * BACKOFF_FIRST_S]
    assert waits[-1] == BACKOFF_MAX_S
    monkeypatch.setattr(children, "STABLE_S", 0.0)
    assert child.next_backoff_s() == BACKOFF_FIRST_S
