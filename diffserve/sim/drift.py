"""What drift does to deferral in a run: by rank, and by a threshold fixed beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from diffserve.profiles.curves import DeferralProfile
from diffserve.profiles.drift import DriftMonitor
from diffserve.profiles.sketch import score_of_rank
from diffserve.sim.faults import ConfidenceShift

SHARES = tuple(index / 10 for index in range(1, 10))
"""Shares to defer that errors are measured at."""


def shifted(score: float, shifts: Sequence[ConfidenceShift], now_s: float) -> float:
    """Return a confidence as the discriminator gives it while shifts are in force."""
    for shift in shifts:
        if shift.is_active(now_s):
            inside = min(max(score, 1e-9), 1.0 - 1e-9)
            logit = math.log(inside / (1.0 - inside)) / shift.temperature + shift.offset
            score = 1.0 / (1.0 + math.exp(-logit))
    return score


@dataclass(slots=True)
class DeferralCount:
    """Images, and how many would have been deferred at each of ``SHARES``.

    Attributes:
        num_images: All.
        by_rank: Their rank was below the share.
        by_threshold: Their confidence was below the profile's threshold for the share.
    """

    num_images: int = 0
    by_rank: list[int] = field(default_factory=lambda: [0] * len(SHARES))
    by_threshold: list[int] = field(default_factory=lambda: [0] * len(SHARES))

    def error(self, counts: Sequence[int]) -> float | None:
        """Return by how much the share deferred was off, at the worst share; None without any."""
        if not self.num_images:
            return None
        pairs = zip(counts, SHARES, strict=True)
        return max(abs(count / self.num_images - share) for count, share in pairs)


class DriftWatch:
    """Watches the confidences of one cascade as its discriminator does, and keeps count.

    Attributes:
        monitor: As in the discriminator service.
    """

    def __init__(self, profile: DeferralProfile, shifts: Sequence[ConfidenceShift]) -> None:
        self.monitor = DriftMonitor(profile)
        self._thresholds = [score_of_rank(profile, share) for share in SHARES]
        self._starts_s = min((shift.at_s for shift in shifts), default=math.inf)
        self._is_counting = bool(shifts)
        self._before, self._after = DeferralCount(), DeferralCount()
        self._num_alarms = 0
        self._alarm_s: float | None = None
        self._images_to_alarm: int | None = None

    def observe(self, score: float, rank: float, now_s: float) -> bool:
        """Take in an image; return whether the alarm went on or off with it."""
        has_drifted = now_s >= self._starts_s
        if self._is_counting:
            self._count(self._after if has_drifted else self._before, score, rank)
        is_change = self.monitor.observe(score, now_s)
        if is_change and self.monitor.drift.is_alarm:
            self._num_alarms += 1
            if self._alarm_s is None and has_drifted:
                self._alarm_s, self._images_to_alarm = now_s, self._after.num_images
        return is_change

    def summary(self) -> dict[str, Any]:
        """Return what happened, as JSON values."""
        before, after = self._before, self._after
        return {
            "alarms": self._num_alarms,
            "alarm_s": self._alarm_s,
            "images_to_alarm": self._images_to_alarm,
            "psi": self.monitor.drift.psi,
            "is_alarm": self.monitor.drift.is_alarm,
            "deferral_error_before": before.error(before.by_rank),
            "deferral_error_after": after.error(after.by_rank),
            "static_deferral_error_before": before.error(before.by_threshold),
            "static_deferral_error_after": after.error(after.by_threshold),
        }

    def _count(self, into: DeferralCount, score: float, rank: float) -> None:
        into.num_images += 1
        for index, share in enumerate(SHARES):
            into.by_rank[index] += rank < share
            into.by_threshold[index] += score < self._thresholds[index]
