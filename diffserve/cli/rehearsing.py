"""Runs a worker's rehearsal in a process of its own and hears what it says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffserve.building.rehearsal import Rehearsal
from diffserve.cli.children import LAUNCHER, describe_exit
from diffserve.cli.fleet import checkout_root
from diffserve.cli.output import CliError
from diffserve.config import PREFIX

MODULE = "services.worker.rehearsal"


def rehearse(rehearsal: Rehearsal, log: Path, on_event: Callable[[str, Any], None]) -> None:
    """Run a rehearsal to its end. The process ends with this one, however that ends.

    Args:
        rehearsal: What is to be done.
        log: File that gets what the process logs; it is emptied first.
        on_event: Called with the name and the value of each event but ``failed``.

    Raises:
        CliError: it failed; says why.
        ConfigError: DiffServe is installed without a checkout.
    """
    launcher = (sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            (*launcher, sys.executable, "-m", MODULE),
            cwd=checkout_root(),
            env={**os.environ, **_settings_file()},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            encoding="utf-8",
            # Ctrl-C reaches only this process, which ends the other.
            start_new_session=True,
        )
    try:
        failure = _hear(process, rehearsal, on_event)
        status = process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(BrokenPipeError):
                assert pipe is not None
                pipe.close()
    if failure or status:
        raise CliError(failure or _last_words(rehearsal, status, log))


def _settings_file() -> dict[str, str]:
    """Return the variable that names the settings file, absolute: the process runs elsewhere."""
    name = f"{PREFIX}CONFIG"
    return {name: str(Path(os.environ[name]).resolve())} if os.environ.get(name) else {}


def _hear(
    process: subprocess.Popen[str], rehearsal: Rehearsal, on_event: Callable[[str, Any], None]
) -> str:
    """Give the process its work and hear its events; return why it failed, or nothing."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(rehearsal.to_json())
        process.stdin.close()
    for line in process.stdout:
        ((name, value),) = json.loads(line).items()
        if name == "failed":
            # It speaks of a worker's settings, which nobody gave here.
            return str(value).replace("worker.device: ", "--device: ")
        on_event(name, value)
    return ""


def _last_words(rehearsal: Rehearsal, status: int, log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    said = f": {lines[-1][:300]}" if lines else ""
    variant = rehearsal.variant.variant_id
    return f"variant.{variant}: its process {describe_exit(status)}{said}; all of it: {log}"
