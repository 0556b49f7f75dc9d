"""Runs simulations side by side and keeps what they came to."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from diffserve.side_by_side import each
from diffserve.sim.run import Simulation, simulate
from diffserve.sim.shapes import SHAPES

_LIBRARY = Path(__file__).parent.parent
_CODE = ("core.py", "catalog.py", "config.py", "profiles", "policy", "planning", "sim")
"""What decides how a run ends, next to its parameters."""


def ignore_progress(done: int, total: int) -> None:
    """Show nothing."""


def run_all(
    runs: Sequence[Simulation],
    *,
    jobs: int,
    cache: Path,
    on_progress: Callable[[int, int], None] = ignore_progress,
) -> list[dict[str, Any]]:
    """Return the metrics of every run, in order, from the cache where they are known.

    Args:
        runs: What to simulate; equal ones are simulated once.
        jobs: Processes; 1 stays in this one.
        cache: Folder of finished runs.
        on_progress: Called with the runs done and the runs in all.
    """
    keys = [key_of(run) for run in runs]
    found = {key: metrics for key in dict.fromkeys(keys) if (metrics := load_metrics(cache, key))}
    missing = {key: run for key, run in zip(keys, runs, strict=True) if key not in found}
    total = len(found) + len(missing)
    on_progress(len(found), total)
    for key, metrics in each(run_one, missing, jobs):
        found[key] = metrics
        store_metrics(cache, key, metrics)
        on_progress(len(found), total)
    return [found[key] for key in keys]


def key_of(run: Simulation) -> str:
    """Return a name for what determines a run: its parameters, its trace file and the code."""
    trace, shown = run.workload.trace, repr(run)
    if trace not in SHAPES:
        shown = shown.replace(repr(trace), _digest_of(trace))
    return hashlib.sha256(f"{code_digest()}{shown}".encode()).hexdigest()[:32]


@functools.cache
def code_digest() -> str:
    """Return a digest of the code that decides how runs end."""
    digest = hashlib.sha256()
    for name in _CODE:
        path = _LIBRARY / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _digest_of(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""  # the simulation will say what is wrong with it


def run_one(run: Simulation) -> dict[str, Any]:
    """Simulate; name a trace file without its folder, which says nothing about the run."""
    metrics = simulate(run)
    return metrics | {"trace": Path(run.workload.trace).name}


def load_metrics(cache: Path, key: str) -> dict[str, Any] | None:
    """Return what was stored under a key, None when nothing was."""
    try:
        metrics: dict[str, Any] = json.loads((cache / f"{key}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return metrics


def store_metrics(cache: Path, key: str, metrics: dict[str, Any]) -> None:
    """Keep metrics under a key; an interruption leaves all of the file or nothing."""
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f"{key}.{os.getpid()}.tmp"
    partial.write_text(json.dumps(metrics), encoding="utf-8")
    partial.replace(cache / f"{key}.json")
