"""A query on its way through the balancer."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from diffserve.core import Batch, Preference, Query

UNSCORED_RANK = 0.0
"""Rank of a deferred query without a score (the client asked for heavy)."""


class Phase(enum.StrEnum):
    """Where a query stands."""

    LIGHT_QUEUE = "light_queue"
    LIGHT_EXECUTION = "light_execution"
    HEAVY_QUEUE = "heavy_queue"
    HEAVY_EXECUTION = "heavy_execution"


@dataclass(slots=True)
class Progress:
    """A query in progress.

    Attributes:
        query: What the client asked.
        phase: Where it stands.
        batch: Batch it runs in, in an execution phase.
        percentile: Rank of its light image's confidence, once scored.
        reason: Why it was deferred, once it is.
        num_retries: How often its worker was lost.
    """

    query: Query
    phase: Phase
    batch: Batch | None = None
    percentile: float | None = None
    reason: str = ""
    num_retries: int = 0

    @property
    def has_light_image(self) -> bool:
        """Whether a light image is at hand as a fallback."""
        return self.phase in (Phase.HEAVY_QUEUE, Phase.HEAVY_EXECUTION)

    @property
    def rank(self) -> float:
        """Place in the heavy stage, 0..1, lowest first; a client that asked for heavy is first."""
        if self.query.preference is Preference.HEAVY or self.percentile is None:
            return UNSCORED_RANK
        return self.percentile
