"""Invariants of every run; a broken one stops the simulation."""

from __future__ import annotations

from collections.abc import Mapping

from diffserve.core import Batch, Outcome, Plan


class InvariantError(AssertionError):
    """A policy or the simulator broke a rule that no run may break."""


class Checkers:
    """Watches queries, devices and plans.

    * Conservation: every query gets exactly one outcome.
    * No batch is empty or above the cap that the newest plan with one for its variant gave it: a
      plan may have no more use for a variant of which queries still wait. None holds a query twice.
    * A device runs one batch at a time, of a variant that it holds.
    * Plan ids only grow.
    * Answers after the deadline are counted as violations.
    """

    def __init__(self) -> None:
        self.num_submitted = 0
        self.num_finished = 0
        self.num_late = 0
        self._open: dict[str, float] = {}
        self._busy: dict[str, int] = {}
        self._plan_id = 0
        self._caps: Mapping[str, int] = {}

    def submitted(self, query_id: str, deadline_s: float) -> None:
        """A query entered."""
        if query_id in self._open:
            raise InvariantError(f"query {query_id} entered twice")
        self._open[query_id] = deadline_s
        self.num_submitted += 1

    def finished(self, query_id: str, outcome: Outcome, now_s: float) -> None:
        """A query got its outcome."""
        deadline_s = self._open.pop(query_id, None)
        if deadline_s is None:
            raise InvariantError(f"query {query_id} ended twice, or never entered")
        self.num_finished += 1
        self.num_late += outcome.is_answered and now_s > deadline_s

    def launched(self, batch: Batch) -> None:
        """A batch was sent to its worker."""
        size, cap = len(batch.query_ids), self._caps.get(batch.variant_id, 0)
        if not 1 <= size <= cap:
            raise InvariantError(f"batch {batch.batch_id} of {size}, the cap is {cap}")
        if len(dict.fromkeys(batch.query_ids)) != size:
            raise InvariantError(f"batch {batch.batch_id} holds a query twice")
        if any(query_id not in self._open for query_id in batch.query_ids):
            raise InvariantError(f"batch {batch.batch_id} holds a query that has ended")

    def executed(self, batch: Batch, resident: tuple[str, ...]) -> None:
        """A device took a batch."""
        if batch.variant_id not in resident:
            raise InvariantError(f"{batch.worker_id} does not hold {batch.variant_id}")
        if batch.worker_id in self._busy:
            raise InvariantError(f"two batches at once on {batch.worker_id}")
        self._busy[batch.worker_id] = batch.batch_id

    def released(self, worker_id: str) -> None:
        """A device became free, or its worker died."""
        self._busy.pop(worker_id, None)

    def planned(self, plan: Plan) -> None:
        """A plan is in force."""
        if plan.plan_id <= self._plan_id:
            raise InvariantError(f"plan {plan.plan_id} follows plan {self._plan_id}")
        self._plan_id = plan.plan_id
        self._caps = {**self._caps, **plan.batch_size_max}

    def ended(self, num_violations_late: int) -> None:
        """The run is over."""
        if self._open:
            some = ", ".join(list(self._open)[:5])
            raise InvariantError(f"{len(self._open)} queries have no outcome: {some}")
        if self.num_finished != self.num_submitted:
            raise InvariantError(f"{self.num_submitted} entered, {self.num_finished} ended")
        if self.num_late != num_violations_late:
            raise InvariantError(f"{self.num_late} were late, {num_violations_late} counted")
