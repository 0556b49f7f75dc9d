"""What the balancer tells its driver to do. Values only; the driver performs them in order."""

from __future__ import annotations

from dataclasses import dataclass

from diffserve.core import Batch, Outcome, RefusalCause


@dataclass(frozen=True, slots=True)
class Launch:
    """Send a batch to its worker."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class Shadow:
    """Run a batch for calibration alone: its one query has been accepted, and is answered next.

    Send it to its worker like any batch, and report when its device is free and when it has ended;
    results go to no client.
    """

    batch: Batch


@dataclass(frozen=True, slots=True)
class Defer:
    """Tell the client that its light image is a preview: the query waits for the heavy variant.

    Attributes:
        query_id: Whose.
        reason: One sentence.
    """

    query_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Bypass:
    """A query skips the light variant: it waits for the heavy one, without a preview.

    Attributes:
        query_id: Whose.
        reason: One sentence.
    """

    query_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Answer a query; its one and only outcome.

    Attributes:
        query_id: Whose.
        outcome: How it ended.
        reason: One sentence.
        predicted_wait_s: For a rejection: seconds until an answer, had it been accepted.
        retry_after_s: For a rejection: when a retry may succeed.
        cause: For a rejection: which limit it met.
    """

    query_id: str
    outcome: Outcome
    reason: str
    predicted_wait_s: float = 0.0
    retry_after_s: float = 0.0
    cause: RefusalCause = RefusalCause.DEADLINE


@dataclass(frozen=True, slots=True)
class Abort:
    """Stop one query of a running batch; its result is no longer wanted.

    Attributes:
        batch_id: Batch it is in.
        worker_id: Where it runs.
        query_id: Whose.
    """

    batch_id: int
    worker_id: str
    query_id: str


Action = Launch | Shadow | Defer | Bypass | Finish | Abort
