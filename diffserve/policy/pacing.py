"""How much is deferred between plans: less while the heavy stage is behind, else evenly."""

from __future__ import annotations

from dataclasses import dataclass

GAIN = 0.2
"""Shift of the threshold per query that was deferred too much or too little."""
DEBT_MAX = 4.0
"""Queries of debt that are remembered, at most."""
SHIFT_MAX = 0.3
"""Largest shift: an image that is clearly good is kept, whatever the debt."""
FREE_SHARE = 0.4
"""Share of the bearable wait up to which a deferral costs nothing."""


@dataclass(slots=True)
class Pacer:
    """Keeps the deferred share at its target over any handful of queries.

    A fixed percentile defers the target share on average, but a random number in any few seconds.
    Quality against share is concave, so these swings cost quality both ways, and they reach the
    heavy stage as bursts. The threshold follows the debt: what should have been deferred so far,
    less what was.

    Attributes:
        debt: In queries; positive when too few were deferred.
    """

    debt: float = 0.0

    def threshold(self, fraction: float) -> float:
        """Return the percentile below which to defer now, 0..1, so as to defer ``fraction``."""
        if fraction <= 0.0:
            return 0.0
        shift = min(SHIFT_MAX, max(-SHIFT_MAX, GAIN * self.debt))
        return min(1.0, max(0.0, fraction + shift))

    def record(self, fraction: float, *, is_deferred: bool) -> None:
        """Take in one decision while ``fraction`` was wanted.

        What the price prevented counts as debt too: after a burst a little more is deferred.
        """
        debt = self.debt + fraction - is_deferred
        self.debt = min(DEBT_MAX, max(-DEBT_MAX, debt))


def bearable_share(drain_s: float, spare_s: float) -> float:
    """Return which share of the wanted deferrals the heavy stage can bear, 0..1. Pure.

    The price of the heavy stage rises with the time that its queue takes to drain, and with it the
    loss by a light image that justifies a deferral. In a lasting overload the share settles where
    deferrals and capacity balance, and few deferred queries end with their light image after all.

    Args:
        drain_s: Time in which all heavy workers together empty the queue.
        spare_s: Longest wait after which a full heavy batch is still in time; above 0.
    """
    free_s = FREE_SHARE * spare_s
    return min(1.0, max(0.0, (spare_s - drain_s) / (spare_s - free_s)))
