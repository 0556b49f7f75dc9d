"""Becomes a child process of ``diffserve up`` that cannot outlive it.

Run as a script: ``python -I -S launch.py PARENT_PID COMMAND...``. On Linux the kernel then kills
the command when its parent dies, also by kill -9, which leaves the parent no time to do it. This
cannot be done between fork and exec of a parent that has threads, hence a program of its own.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the parent's death signal, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died before the request took effect.
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
