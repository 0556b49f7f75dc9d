"""How many CPU threads a worker's process has."""

from __future__ import annotations

import os
import sys

from diffserve.config import UpSettings, WorkerSettings, load_settings


def pin_threads(settings: WorkerSettings) -> int:
    """Fix the size of OpenMP's pool, before anything imports torch; return it.

    Several workers whose threads spin on shared cores slow each other down by orders of magnitude.
    """
    num_workers = load_settings(UpSettings, environ=os.environ).num_workers or 1
    # Not every system can tell which of its cores this process may use.
    num_cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    num_threads = settings.num_threads or max(1, num_cores // num_workers)
    os.environ["OMP_NUM_THREADS"] = str(num_threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return num_threads
