"""A query on its way through the balancer."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from diffserve.core import Batch, CascadeStage, Preference, Query

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
        is_bypassed: It skipped the light variant; in the heavy stage it has no image yet.
        light_by_s: While it waits there: when it must draw a light image after all.
    """

    query: Query
    phase: Phase
    batch: Batch | None = None
    percentile: float | None = None
    reason: str = ""
    num_retries: int = 0
    is_bypassed: bool = False
    light_by_s: float = math.inf

    @property
    def stage(self) -> CascadeStage:
        """Which stage of its cascade it waits for or runs in."""
        is_heavy = self.phase in (Phase.HEAVY_QUEUE, Phase.HEAVY_EXECUTION)
        return CascadeStage.HEAVY if is_heavy else CascadeStage.LIGHT

    @property
    def has_light_image(self) -> bool:
        """Whether a light image is at hand as a fallback."""
        return self.stage is CascadeStage.HEAVY and not self.is_bypassed

    @property
    def rank(self) -> float:
        """Place in the heavy stage, 0..1, lowest first; first are those without a score.

        That is who asked for heavy, and who has no light image at all.
        """
        if self.query.preference is Preference.HEAVY or self.percentile is None:
            return UNSCORED_RANK
        return self.percentile
