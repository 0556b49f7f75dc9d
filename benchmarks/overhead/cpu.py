"""CPU time of the processes of a deployment, from ``/proc`` (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
SERVICES = ("loadbalancer", "worker", "discriminator", "controller")
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU that a process has used, its threads included."""
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def services() -> dict[str, int]:
    """Return the services that this process has started: name -> process id."""
    found = {}
    for pid in _descendants(os.getpid()):
        words = (PROC / str(pid) / "cmdline").read_bytes().decode().split("\0")
        for name in SERVICES:
            if f"services.{name}" in words and not any(w.endswith("launch.py") for w in words):
                found[name] = pid
    return found


def _descendants(root: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        yield from below
        pending += below
