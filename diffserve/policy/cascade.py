"""Accept a light image, or defer its query to the heavy variant. Pure. Paper: §3.1-3.2."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from diffserve.core import Preference


class Verdict(enum.StrEnum):
    """What to do with a scored light image."""

    ACCEPT = "accept"
    """Answer with it."""
    DEFER = "defer"
    """Keep it as a preview and let the heavy variant draw."""
    FALL_BACK = "fall_back"
    """It should be deferred, but the heavy variant cannot answer in time: answer with it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and its reason, one sentence for people."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LightImage:
    """What is known when a light image is ready.

    Attributes:
        preference: The client's.
        percentile: Rank of its confidence among recent ones, 0..1; None when it was not scored.
        deferral_fraction: Share to defer now, 0..1: the planned one, paced by the heavy queue.
        slack_s: Seconds until the query's deadline, answer margin taken off.
        heavy_answer_s: Expected seconds until the heavy image; infinite without heavy workers.
    """

    preference: Preference
    percentile: float | None
    deferral_fraction: float
    slack_s: float
    heavy_answer_s: float


def decide(image: LightImage) -> Decision:
    """Accept, defer or fall back.

    The threshold is a percentile: a share of light images is deferred, whatever the absolute
    confidences drift to (docs/divergences.md). A deferral can never turn an answered query into
    a violation, because the light image stays at hand.
    """
    if image.preference is Preference.LIGHT:
        return Decision(Verdict.ACCEPT, "the client asked for the light variant")
    if image.preference is Preference.HEAVY:
        reason = "the client asked for the heavy variant"
    elif image.percentile is None:
        return Decision(Verdict.ACCEPT, "the image was not scored, and is kept")
    elif image.percentile >= image.deferral_fraction:
        return Decision(
            Verdict.ACCEPT,
            f"confidence ranks at {image.percentile:.0%} of recent images; "
            f"only those below {image.deferral_fraction:.0%} are deferred now",
        )
    else:
        reason = (
            f"confidence ranks at {image.percentile:.0%} of recent images; "
            f"those below {image.deferral_fraction:.0%} are deferred now"
        )
    if image.heavy_answer_s > image.slack_s:
        is_there = math.isfinite(image.heavy_answer_s)
        why = (
            "the heavy variant cannot make it" if is_there else "no worker holds the heavy variant"
        )
        return Decision(Verdict.FALL_BACK, f"{reason}, but {why}")
    return Decision(Verdict.DEFER, reason)
