"""Runs simulations side by side and keeps what they came to."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

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
    for key, metrics in _simulated(missing, jobs):
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


def _simulated(missing: dict[str, Simulation], jobs: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield runs as they finish; the first failure ends the others."""
    if jobs == 1 or len(missing) <= 1:
        for key, run in missing.items():
            yield key, run_one(run)
        return
    # Forked copies of a process that shows a progress bar in a thread could hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_follow_parent) as pool:
        futures: dict[Future[dict[str, Any]], str] = {
            pool.submit(run_one, run): key for key, run in missing.items()
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()  # a simulation may go on for minutes, and nobody waits for it
            raise


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and do not outlive it: its death alone ends no child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


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
