"""How much memory this process uses and may use."""

from __future__ import annotations

import ctypes
import ctypes.util
import gc
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

STATM = Path("/proc/self/statm")
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True, slots=True)
class Memory:
    """One reading, in bytes."""

    used_bytes: int
    total_bytes: int


def process_memory() -> Memory:
    """Return this process's memory and what it may use: the machine's, or its container's."""
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.exists() else ""
    if limit.isdigit():
        total = min(total, int(limit))
    if STATM.exists():
        return Memory(page * int(STATM.read_text().split()[1]), total)
    # Elsewhere only the peak is known; macOS counts it in bytes, other systems in KiB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Memory(peak if sys.platform == "darwin" else peak * 1024, total)


def return_freed_memory() -> None:
    """Collect cycles and give free heap pages back to the system.

    Pipelines hold reference cycles, and glibc keeps freed blocks of a model's size for itself:
    without this, the memory of an unloaded variant stays with the process.
    """
    gc.collect()
    if sys.platform == "linux" and ctypes.util.find_library("c"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
