"""Starts a fleet stage by stage, keeps it running, and stops it in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from diffserve.cli.children import Child, describe_exit
from diffserve.cli.fleet import Fleet
from diffserve.cli.output import CliError, duration

START_TIMEOUT_S = 600.0
"""Longest wait for one stage; loading large weights from a slow disk takes minutes."""

STOP_MARGIN_S = 5.0
"""Given to a child beyond the grace that its own drain may take."""

STOP_UNREADY_S = 2.0
"""Given to a child that does not serve yet and so has nothing to drain."""


class Supervisor:
    """Runs every process of a fleet as a child of this one.

    Args:
        fleet: What to run.
        root: Working directory of the children, the one that holds ``services/``.
        run_directory: Where their logs go.
        grace_s: Seconds that a service may take to drain.
        report: Called with one line for people whenever something happens.
    """

    def __init__(
        self,
        fleet: Fleet,
        root: Path,
        run_directory: Path,
        grace_s: float,
        report: Callable[[str], None],
    ) -> None:
        self._stages = [
            [Child(spec, root, run_directory) for spec in stage] for stage in fleet.stages
        ]
        self._grace_s = grace_s
        self._report = report
        self.waiting: set[Child] = set()
        """Children that were started and do not serve yet."""

    @property
    def children(self) -> list[Child]:
        """All children in starting order."""
        return [child for stage in self._stages for child in stage]

    async def start(self) -> None:
        """Start every stage once the one before serves.

        Raises:
            CliError: a child ended, or did not serve in time; holds the end of its log.
        """
        for stage in self._stages:
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    await asyncio.gather(*(self._bring_up(child) for child in stage))
            except TimeoutError:
                names = ", ".join(sorted(child.spec.name for child in self.waiting))
                raise CliError(f"{names}: not ready in {duration(START_TIMEOUT_S)}") from None

    async def keep(self, on_restart: Callable[[], None] = lambda: None) -> None:
        """Start any child again that ends; never returns.

        Args:
            on_restart: Called whenever a child has another process; must not raise.
        """
        async with asyncio.TaskGroup() as group:
            for child in self.children:
                group.create_task(self._keep(child, on_restart))

    async def stop(self) -> None:
        """Stop the stages in reverse: the door first, so that accepted queries still finish."""
        for stage in reversed(self._stages):
            await asyncio.gather(*(self._end(child) for child in stage))

    def kill(self) -> None:
        """Kill everything at once."""
        for child in self.children:
            child.kill()

    async def _end(self, child: Child) -> None:
        is_ready = child not in self.waiting
        grace_s = self._grace_s + STOP_MARGIN_S if is_ready else STOP_UNREADY_S
        if not await child.end(grace_s) and is_ready:
            self._report(f"{child.spec.name} did not stop in {grace_s:.0f} s: killed")

    async def _begin(self, child: Child, on_start: Callable[[], None] = lambda: None) -> bool:
        """Start a child; return True once it serves, False when it ended before."""
        self.waiting.add(child)
        await child.start()
        on_start()
        is_ready = await child.serves()
        if is_ready:
            self.waiting.discard(child)
        return is_ready

    async def _bring_up(self, child: Child) -> None:
        if not await self._begin(child):
            status = describe_exit(await child.wait())
            raise CliError(
                f"{child.spec.name} {status} before it was ready; its log, {child.log_path}, ends "
                f"with:\n{child.last_words(10)}"
            )
        self._report(f"{child.spec.name} ready in {duration(time.monotonic() - child.started_s)}")

    async def _keep(self, child: Child, on_restart: Callable[[], None]) -> None:
        while True:
            status = describe_exit(await child.wait())
            backoff_s = child.next_backoff_s()
            self._report(f"{child.spec.name} {status}; starting it again in {duration(backoff_s)}")
            await asyncio.sleep(backoff_s)
            if await self._begin(child, on_restart):
                took_s = time.monotonic() - child.started_s
                self._report(f"{child.spec.name} serves again after {duration(took_s)}")


@contextlib.asynccontextmanager
async def stop_signals() -> AsyncIterator[asyncio.Queue[signal.Signals]]:
    """Collect SIGINT, SIGTERM and SIGHUP instead of dying of them."""
    received: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, received.put_nowait, number)
    try:
        yield received
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
