"""What the load generator knows of one query in the end, whoever served it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from diffserve.core import Outcome


class Status(enum.StrEnum):
    """How a query ended, seen from outside."""

    ANSWERED = "answered"
    REFUSED = "refused"
    EXPIRED = "expired"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a server says of an image that it drew; other servers than DiffServe say nothing.

    Attributes:
        outcome: Which stage answered; None where it is not told.
        variant: Who drew it.
        first_image_s: Until there was an image to show, by the server's clock; None: not told.
        stage_s: Stage -> seconds.
    """

    outcome: Outcome | None = None
    variant: str = ""
    first_image_s: float | None = None
    stage_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One query.

    Attributes:
        arrival_s: When it was to be sent, seconds since the start of the measurement.
        lag_s: How much later it was sent.
        latency_s: From ``arrival_s`` until it ended.
        status: How.
        error: What was said instead of an image.
        num_bytes: Of the image, as it came over the wire.
        told: What else the server says.
    """

    arrival_s: float
    lag_s: float
    latency_s: float
    status: Status
    error: str = ""
    num_bytes: int = 0
    told: Told = field(default_factory=Told)

    def is_good(self, slo_s: float) -> bool:
        """Whether it was answered within the SLO."""
        return self.status is Status.ANSWERED and self.latency_s <= slo_s
