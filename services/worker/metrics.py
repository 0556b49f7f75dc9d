"""What this worker counts, and what it reads when scraped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from diffserve.catalog import Catalog
from diffserve.observability.instruments import Instruments, Sample
from services.worker.memory import Memory
from services.worker.runs import BatchRun


class WorkerMetrics:
    """Batches and aborts are counted on the event loop, loading on the device thread.

    Attributes:
        instruments: Everything, for the scrape.
    """

    def __init__(
        self,
        catalog: Catalog,
        memory: Callable[[], Memory],
        resident: Callable[[], tuple[str, ...]],
    ) -> None:
        """Start at nothing.

        Args:
            catalog: Variants that there are.
            memory: Reads the device's memory.
            resident: Reads which variants it holds.
        """
        self.instruments = Instruments("worker", self._read)
        self._catalog = catalog
        self._memory = memory
        self._resident = resident
        self._swap_bytes = (0, 0)

    def left_device(self, run: BatchRun) -> None:
        """Count a batch that the device is done with."""
        variant_id = run.spec.variant.variant_id
        result = "done" if run.execution.images else "stopped" if run.stop.is_set() else "failed"
        self.instruments.count("worker_batches_total", variant_id, result)
        if result == "done":
            seconds = run.execution.execution_s
            self.instruments.observe("worker_execution_seconds", seconds, variant_id)

    def aborted(self, num_queries: int) -> None:
        """Count queries that nobody waits for any more."""
        self.instruments.count("worker_queries_aborted_total", amount=num_queries)

    def loaded(self, variant_id: str, swap_s: float, before_bytes: int, after_bytes: int) -> None:
        """Count a swap, without its warm-up.

        Args:
            variant_id: What was loaded.
            swap_s: Seconds of evicting and loading.
            before_bytes: Memory of the device in use, before anything was evicted.
            after_bytes: The same in the end.
        """
        self.instruments.count("worker_swaps_total", variant_id)
        self.instruments.observe("worker_swap_seconds", swap_s, variant_id)
        self._swap_bytes = (before_bytes, after_bytes)

    def evicted(self, variant_id: str) -> None:
        """Count a variant that made room."""
        self.instruments.count("worker_evictions_total", variant_id)

    def _read(self) -> Iterator[Sample]:
        before, after = self._swap_bytes
        yield "worker_swap_memory_bytes", ("before",), before
        yield "worker_swap_memory_bytes", ("after",), after
        memory = self._memory()
        yield "worker_memory_used_bytes", (), memory.used_bytes
        yield "worker_memory_total_bytes", (), memory.total_bytes
        resident = self._resident()
        for variant_id in self._catalog.variants:
            yield "worker_variant_resident", (variant_id,), float(variant_id in resident)
