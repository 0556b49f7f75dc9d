"""How evenly queries are deferred: the share over a handful of them is the wanted one."""

from __future__ import annotations

from dataclasses import dataclass

GAIN = 0.4
"""Shift of the threshold per query that was deferred too much or too little."""
DEBT_MAX = 4.0
"""Queries of debt that are remembered, at most."""
SHIFT_MAX = 0.3
"""Largest shift: an image that is clearly good is kept, whatever the debt."""


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
        """Take in one decision while ``fraction`` was wanted."""
        debt = self.debt + fraction - is_deferred
        self.debt = min(DEBT_MAX, max(-DEBT_MAX, debt))
