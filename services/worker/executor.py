"""Accepts batches, runs them one at a time on the device thread, and stops them on demand."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
import time
from collections.abc import Sequence

from diffserve.core import Variant
from diffserve.errors import WORKER_BUSY, BackendError, ConfigError, OverloadedError, StalePlanError
from services.worker.backends.base import Interrupted
from services.worker.batch import BatchSpec, warm_up_batch, warm_up_failure
from services.worker.device import DeviceThread
from services.worker.latencies import Latencies
from services.worker.metrics import WorkerMetrics
from services.worker.residency import Residency
from services.worker.runs import BatchRun, Execution, StepReporter

logger = logging.getLogger(__name__)

NUM_SLOTS = 2
"""One batch running and one staged: the device never idles between batches, nothing waits long."""

HANG_AFTER_S = 5.0
"""No batch is called hung earlier, however short its profile."""


class Executor:
    """Everything that is decided about the device; owned by the event loop."""

    def __init__(
        self,
        residency: Residency,
        latencies: Latencies,
        device: DeviceThread,
        metrics: WorkerMetrics,
    ) -> None:
        self._metrics = metrics
        self.residency = residency
        self.latencies = latencies
        self.is_draining = False
        self.assigned = ""
        self.coresident: tuple[str, ...] = ()
        self.plan_id = 0
        self.num_batches = 0
        self._device = device
        self._on_device: list[BatchRun] = []
        self._open: list[BatchRun] = []
        self._num_loading = 0
        self._num_closed = 0
        self._changed = asyncio.Event()

    def submit(self, spec: BatchSpec) -> BatchRun:
        """Accept a batch. Whoever does so calls ``close`` in the end.

        Raises:
            OverloadedError: one batch runs and one is staged, or a variant is being loaded, or
                anything runs and the batch is for an idle device only.
            ConfigError: the variant is not resident.
        """
        wait_s = self._remaining_s()
        if self._num_loading:
            # Work staged behind a load might want the very variant that the load evicts.
            what = "busy: a variant is being loaded"
            raise OverloadedError(what, predicted_wait_s=wait_s, retry_after_s=wait_s)
        if len(self._on_device) >= (1 if spec.only_if_idle else NUM_SLOTS):
            what = f"busy: batches in hand: {len(self._on_device)}"
            raise OverloadedError(
                what, predicted_wait_s=wait_s, retry_after_s=wait_s, cause=WORKER_BUSY
            )
        if spec.variant.variant_id not in self.residency.resident:
            raise ConfigError(f"variant_id: {spec.variant.variant_id} is not resident")
        run = BatchRun(spec, time.monotonic())
        self._on_device.append(run)
        self._open.append(run)
        loop = asyncio.get_running_loop()
        run.future = self._device.submit(functools.partial(self._execute, run, loop))
        run.future.add_done_callback(
            lambda future: loop.call_soon_threadsafe(self._left_device, run, future)
        )
        return run

    def abort(self, loadbalancer_id: str, batch_id: int, query_ids: frozenset[str]) -> int:
        """Stop single queries of a load balancer's batch; return how many were found."""
        num_found = 0
        for run in self._open:
            if (run.spec.loadbalancer_id, run.spec.batch_id) != (loadbalancer_id, batch_id):
                continue
            own = {drawing.query_id for drawing in run.spec.drawings}
            found = (own & query_ids) - run.aborted
            run.aborted |= found
            num_found += len(found)
            if found and len(run.aborted) == len(own):
                self._stop(run)
        self._metrics.aborted(num_found)
        return num_found

    def close(self, run: BatchRun) -> None:
        """Forget a batch whose call has ended; stop it where it still runs."""
        if run.released.is_set():
            self._num_closed += 1
        else:
            self._stop(run)
        self._open.remove(run)
        self._changed.set()

    async def drain(self) -> int:
        """Refuse new batches; return, when the accepted ones are answered, how many there were."""
        self.is_draining = True
        before = self._num_closed
        while self.is_draining and (self._open or self._on_device):
            self._changed.clear()
            await self._changed.wait()
        return self._num_closed - before

    @property
    def num_accepted(self) -> int:
        """Batches that are not finished yet."""
        return len(self._open)

    def resume(self) -> None:
        """Take new batches again; a ``drain`` in progress returns."""
        self.is_draining = False
        self._changed.set()

    async def assign(
        self, variant: Variant, plan_id: int, coresident: Sequence[Variant] = ()
    ) -> float:
        """Make variants ready once the accepted batches are done.

        Args:
            variant: Its placement, loaded first.
            plan_id: Plan that says so.
            coresident: What it serves beside that, where it shares its time.

        Returns:
            Seconds that the device served nothing for it: loading and warm-up; 0 when all were
            resident.

        Raises:
            StalePlanError: a newer plan has spoken, now or while this one waited.
            ConfigError: the variant cannot be loaded.
        """
        if plan_id < self.plan_id:
            raise StalePlanError(f"plan_id: {plan_id} is older than plan {self.plan_id}")
        self.plan_id, self.assigned = plan_id, variant.variant_id
        self.coresident = tuple(other.variant_id for other in coresident)
        load_s = 0.0
        for wanted in (variant, *coresident):
            if self._num_loading or wanted.variant_id not in self.residency.resident:
                load_s += await self.make_ready(wanted, needs_assignment=True)
        return load_s

    async def make_ready(self, variant: Variant, *, needs_assignment: bool = False) -> float:
        """Load a variant and run it once before anybody waits for it.

        Args:
            variant: What to load; nothing happens when it is resident.
            needs_assignment: Give up when another variant is assigned by the time it is its turn.

        Returns:
            Seconds of loading and warm-up; 0 when it was resident.

        Raises:
            StalePlanError: it gave up.
            ConfigError: the variant cannot be loaded or does not run.
        """

        def load() -> tuple[float, Execution | None]:
            wanted = (self.assigned, *self.coresident) if needs_assignment else ()
            if needs_assignment and variant.variant_id not in wanted:
                raise StalePlanError(f"variant_id: {self.assigned} was assigned meanwhile")
            # Beside those that matter more: the placement takes the room of its co-residents.
            keep = wanted[: wanted.index(variant.variant_id)] if wanted else ()
            return self._load_and_warm(variant, loop, keep)

        loop = asyncio.get_running_loop()
        self._num_loading += 1
        future = self._device.submit(load)
        # Counted down when the load ends, not when the caller gives up waiting for it.
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._loaded))
        load_s, warm_up = await asyncio.shield(asyncio.wrap_future(future))
        if warm_up is not None:
            self.latencies.observe(warm_up_batch(variant), warm_up.execution_s, is_warm_up=True)
        return load_s

    def is_hung(self, hang_factor: float) -> bool:
        """Return whether the running batch takes ``hang_factor`` times longer than profiled."""
        for run in self._on_device:
            if run.started_s is not None:
                limit_s = max(HANG_AFTER_S, hang_factor * self.latencies.expected_s(run.spec))
                return time.monotonic() - run.started_s > limit_s
        return False

    def _execute(self, run: BatchRun, loop: asyncio.AbstractEventLoop) -> Execution:
        """Run a batch; on the device thread."""
        started_s = time.monotonic()
        loop.call_soon_threadsafe(self._entered_device, run, started_s)
        spec = run.spec
        failure = ""
        try:
            replica = self.residency.use(spec.variant)
            on_step = StepReporter(run, loop) if spec.reports_progress else None
            images = replica.run(spec, run.stop, on_step)
        except Interrupted:
            return Execution(time.monotonic() - started_s, error="stopped")
        except BackendError as error:
            failure = str(error)
        execution_s = time.monotonic() - started_s
        if failure:
            self.residency.release()
            return Execution(execution_s, error=failure)
        words = tuple(replica.unknown_words(drawing.prompt) for drawing in spec.drawings)
        return Execution(execution_s, tuple(images), words)

    def _load_and_warm(
        self, variant: Variant, loop: asyncio.AbstractEventLoop, keep: tuple[str, ...]
    ) -> tuple[float, Execution | None]:
        """Load a variant and try it out, on the device thread; return seconds and the last run."""
        if variant.variant_id in self.residency.resident:
            return 0.0, None
        started_s = time.monotonic()
        self.residency.load(variant, keep)
        executions = []
        # A batch of one last: its time is what the first plans hear of.
        for size in sorted({1, *self.residency.use(variant).warm_up_sizes}, reverse=True):
            run = BatchRun(warm_up_batch(variant, size), time.monotonic())
            executions.append(self._execute(run, loop))
            if executions[-1].error:
                self.residency.drop(variant)
                raise warm_up_failure(variant, f"warm-up: {executions[-1].error}")
            logger.info(
                "%s warm: batch of %d in %.3f s",
                *(variant.variant_id, size, executions[-1].execution_s),
            )
        return time.monotonic() - started_s, executions[-1]

    def _entered_device(self, run: BatchRun, started_s: float) -> None:
        run.started_s = started_s
        run.started.set()

    def _left_device(self, run: BatchRun, future: concurrent.futures.Future[Execution]) -> None:
        if not future.cancelled():
            error = future.exception()
            run.execution = future.result() if error is None else Execution(error=repr(error))
            self.num_batches += 1
        if run.execution.images:
            self.latencies.observe(run.spec, run.execution.execution_s)
        self._metrics.left_device(run)
        self._on_device.remove(run)
        run.left()
        self._changed.set()

    def _loaded(self) -> None:
        self._num_loading -= 1

    def _stop(self, run: BatchRun) -> None:
        run.stop.set()
        if run.future is not None:
            run.future.cancel()

    def _remaining_s(self) -> float:
        """Return the expected seconds until the device could begin another batch."""
        now_s = time.monotonic()
        return sum(
            max(0.0, self.latencies.expected_s(run.spec) - (now_s - (run.started_s or now_s)))
            for run in self._on_device
        )
