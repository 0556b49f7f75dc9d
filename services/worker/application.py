"""The life of a worker: preload, warm up, register, watch for hangs, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

from diffserve.catalog import Catalog
from diffserve.config import WorkerSettings
from diffserve.core import Variant
from diffserve.errors import ConfigError, DiffServeError
from diffserve.observability.tracing import Tracing, open_tracing
from diffserve.profiles.latency import LatencyProfile
from diffserve.rpc.server import Health
from services.worker.answers import Answers
from services.worker.backends import Backends
from services.worker.device import DeviceThread
from services.worker.executor import Executor
from services.worker.latencies import Latencies
from services.worker.local_scoring import LocalScoring
from services.worker.membership import Membership, Standing
from services.worker.metrics import WorkerMetrics
from services.worker.residency import Residency
from services.worker.scoring import ImageScoring, ScoringClient

logger = logging.getLogger(__name__)

WATCH_PERIOD_S = 0.25
EXIT_HUNG = 70
"""Status of a process whose device hung; `EX_SOFTWARE` of sysexits.h."""
EXIT_RESTART = 75
"""Status of a process that wants to be started again (EX_TEMPFAIL)."""
RESTART_DELAY_S = 0.1
"""The answer to ``Restart`` leaves before the port closes."""
EVERYWHERE = frozenset({"0.0.0.0", "[::]", "::"})


class WorkerApplication:
    """Builds the parts of a worker and runs them; see ``diffserve.rpc.server.Application``."""

    def __init__(
        self,
        settings: WorkerSettings,
        catalog: Catalog,
        num_threads: int,
        ask_to_stop: Callable[[], None] = lambda: signal.raise_signal(signal.SIGTERM),
    ) -> None:
        """Put the parts together; nothing is loaded before ``start``.

        Args:
            settings: As loaded.
            catalog: Variants at hand.
            num_threads: Of OpenMP's pool.
            ask_to_stop: Has the process drain and end, as its supervisor would.

        Raises:
            ConfigError: ``preload`` names an unknown variant.
        """
        self.catalog = catalog
        latency = _latency_on(settings.device_type, catalog)
        self.backends = Backends(settings.device, num_threads, latency, settings.compile)
        self._settings = settings
        self._num_threads = num_threads
        self._preload = _variants_to_preload(settings.preload, catalog)
        self._device = DeviceThread()
        residency = Residency(
            self.backends, settings.memory_bytes_max, settings.host_memory_bytes_max
        )
        self.metrics = WorkerMetrics(catalog, self.backends.memory, lambda: residency.resident)
        residency.on_loaded, residency.on_evicted = self.metrics.loaded, self.metrics.evicted
        self.executor = Executor(residency, Latencies(latency), self._device, self.metrics)
        self.tracing = open_tracing("worker", settings.otlp_endpoint, settings.worker_id)
        self._scoring = _scoring_of(settings, catalog, self.tracing)
        self.answers = Answers(self._scoring)
        self.membership = Membership(
            settings.controller_address, self.standing, self.executor.latencies, self._on_assigned
        )
        self.is_hung = False
        self.exit_status = 0
        self._ask_to_stop = ask_to_stop
        self._port = settings.port
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def worker_id(self) -> str:
        """Stable name of this worker's slot."""
        # Replicas of a container share their port, but not their host name.
        host = f"{socket.gethostname()}-" if self._settings.host in EVERYWHERE else ""
        return self._settings.worker_id or f"worker-{host}{self._port}"

    async def start(self, health: Health, port: int) -> None:
        """Load and warm up what the settings ask for, then join the cluster.

        Raises:
            ConfigError: the device, or every variant to preload, does not work.
        """
        self._port = port
        prepared = self._device.submit(
            lambda: self.backends.prepare(self.catalog.variants.values())
        )
        await asyncio.wrap_future(prepared)
        await self._scoring.start(self.backends.device, self._num_threads)
        await self._load_at_start()
        self._spawn(self.membership.run())
        self._spawn(self._watch(health))

    async def drain(self) -> None:
        """Leave the cluster and finish accepted batches."""
        self.executor.is_draining = True
        # In this order, or the lease might be renewed after it was ended.
        self._cancel_tasks()
        await self.membership.leave()
        await self.executor.drain()

    async def stop(self) -> None:
        """Release threads and connections."""
        self._cancel_tasks()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.membership.close()
        await self.answers.close()
        self._device.close(timeout_s=1.0)
        if self.tracing is not None:
            await self.tracing.close()

    def restart(self) -> int:
        """Refuse new batches now, then drain and end; return the status of the process."""
        self.executor.is_draining = True
        self.membership.announce()
        if not self.exit_status:
            self.exit_status = EXIT_RESTART
            logger.info("restarting: an operator asked for it")
            asyncio.get_running_loop().call_later(RESTART_DELAY_S, self._ask_to_stop)
        return self.exit_status

    def standing(self) -> Standing:
        """Return what the controller should know now."""
        settings = self._settings
        # Listening on every interface says nothing about how to be reached; the host name does.
        host = socket.gethostname() if settings.host in EVERYWHERE else settings.host
        return Standing(
            worker_id=self.worker_id,
            address=settings.advertise_address or f"{host}:{self._port}",
            device=self.backends.device,
            resident=self.executor.residency.resident,
            is_draining=self.executor.is_draining or self.is_hung,
            device_type=settings.device_type or self.backends.device_type,
            memory_bytes_max=self.executor.residency.limit_bytes,
        )

    async def _load_at_start(self) -> None:
        first_error: ConfigError | None = None
        for variant in self._preload:
            try:
                if self._settings.preload == "all" and not self.executor.residency.fits(variant):
                    logger.info("%s is left for later: memory is full", variant.variant_id)
                    continue
                await self.executor.make_ready(variant)
            except ConfigError as error:
                # One broken entry of a catalog should not keep the others from being served.
                if self._settings.preload != "all":
                    raise
                logger.error("%s", error)
                first_error = first_error or error
        if first_error is not None and not self.executor.residency.resident:
            raise first_error

    def _on_assigned(self, variant_id: str, plan_id: int, coresident: tuple[str, ...]) -> None:
        """Follow the plan that a registration tells about, as after a restart of this worker."""
        executor = self.executor
        known = (executor.assigned, executor.plan_id, executor.coresident)
        is_news = (variant_id, plan_id, coresident) != known
        variants = [self.catalog.variants.get(v) for v in (variant_id, *coresident)]
        held = [variant for variant in variants if variant is not None]
        if len(held) == len(variants) and is_news and plan_id >= executor.plan_id:
            self._spawn(self._assign(held[0], plan_id, held[1:]))

    async def _assign(self, variant: Variant, plan_id: int, coresident: list[Variant]) -> None:
        try:
            await self.executor.assign(variant, plan_id, coresident)
        except DiffServeError as error:
            logger.error("plan %d: %s", plan_id, error, extra={"plan_id": plan_id})
        self.membership.announce()

    async def _watch(self, health: Health) -> None:
        """Report NOT_SERVING while a batch takes far longer than its profile says.

        What does not come back by itself needs a new process, and nobody else may know.
        """
        hung_since_s = 0.0
        while True:
            await asyncio.sleep(WATCH_PERIOD_S)
            is_hung = self.executor.is_hung(self._settings.hang_factor)
            if is_hung and self.is_hung:
                self._end_if_hung_since(hung_since_s)
            if is_hung == self.is_hung:
                continue
            self.is_hung, hung_since_s = is_hung, time.monotonic()
            logger.warning("the device hangs" if is_hung else "the device is back")
            await health.set(serving=not is_hung)
            self.membership.announce()

    def _end_if_hung_since(self, hung_since_s: float) -> None:
        limit_s = self._settings.hang_exit_s
        if limit_s and not self.exit_status and time.monotonic() - hung_since_s >= limit_s:
            self.exit_status = EXIT_HUNG
            logger.error("the device has been hung for %.0f s: ending this process", limit_s)
            self._ask_to_stop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a background task failed", exc_info=task.exception())

    def _cancel_tasks(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()


def _scoring_of(
    settings: WorkerSettings, catalog: Catalog, tracing: Tracing | None
) -> ImageScoring:
    address, timeout_s = settings.discriminator_address, settings.score_timeout_s
    if settings.scoring == "local":
        return LocalScoring(catalog, address, timeout_s, tracing)
    return ScoringClient(address, timeout_s)


def _latency_on(device_type: str, catalog: Catalog) -> dict[str, LatencyProfile]:
    """Return the catalog's profiles for a type of device; without one of its own, the common one.

    Mock workers sleep by these.
    """
    return {
        variant_id: catalog.latency_by_device.get(variant_id, {}).get(device_type, profile)
        for variant_id, profile in catalog.latency.items()
    }


def _variants_to_preload(preload: str, catalog: Catalog) -> tuple[Variant, ...]:
    if preload == "all":
        return tuple(catalog.variants.values())
    names = [] if preload == "none" else [name.strip() for name in preload.split(",")]
    for name in names:
        if name not in catalog.variants:
            raise ConfigError(f"worker.preload: no variant {name!r} in catalog {catalog.name!r}")
    return tuple(catalog.variants[name] for name in names)
