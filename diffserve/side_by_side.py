"""Calls one function with many arguments in several processes at the same time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import TypeVar

KeyT = TypeVar("KeyT")
ArgumentT = TypeVar("ArgumentT")
ResultT = TypeVar("ResultT")


def each(
    function: Callable[[ArgumentT], ResultT], arguments: Mapping[KeyT, ArgumentT], jobs: int
) -> Iterator[tuple[KeyT, ResultT]]:
    """Yield keys with results as they come; the first failure ends the other calls.

    Args:
        function: Of a module, so that another process finds it.
        arguments: By key.
        jobs: Processes; 1 stays in this one.
    """
    if jobs == 1 or len(arguments) <= 1:
        for key, argument in arguments.items():
            yield key, function(argument)
        return
    # Forked copies of a process that shows a progress bar in a thread could hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_follow_parent) as pool:
        futures: dict[Future[ResultT], KeyT] = {
            pool.submit(function, argument): key for key, argument in arguments.items()
        }
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()  # a call may go on for minutes, and nobody waits for it
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
