"""The one thread that touches the device."""

from __future__ import annotations

import concurrent.futures
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")
_Item = tuple["concurrent.futures.Future[Any]", Callable[[], Any]] | None


class DeviceThread:
    """Runs submitted work one piece at a time, in order.

    Not a ``ThreadPoolExecutor``: its threads are joined when the process exits, so that a hung
    device would keep a terminated worker alive. Callers bound the queue: two batches and the
    assignments in progress.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], ResultT]) -> concurrent.futures.Future[ResultT]:
        """Queue work; cancelling the future before it starts removes it."""
        future: concurrent.futures.Future[ResultT] = concurrent.futures.Future()
        self._queue.put((future, work))
        return future

    def close(self, timeout_s: float) -> None:
        """End the thread after the work already queued, waiting ``timeout_s`` at most."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            _complete(*item)
            # Or this frame would keep the last batch's images until the next one.
            del item


def _complete(future: concurrent.futures.Future[Any], work: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
