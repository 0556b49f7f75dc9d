"""What a second of the heavy workers is worth right now, and so which deferrals pay."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from diffserve.core import Cascade, Plan, RequestClass
from diffserve.policy.pool import Pool
from diffserve.profiles.curves import QualityCurve
from diffserve.profiles.gains import GainCurve

REFRESH_S = 0.1
"""A price is found anew at most this often."""
FREE_SHARE = 0.55
"""Backlog that costs nothing, as a share of the time that a full heavy batch leaves of the SLO: it
keeps the workers in full batches, and lets the worst images go first."""
MEMORY_SHARE = 0.5
"""Images of about this share of the SLO tell how many to expect."""
_STEPS = 30


@dataclass(slots=True)
class Rate:
    """Events per second, the recent ones counting most.

    Attributes:
        memory_s: An event counts e-fold less after this long.
    """

    memory_s: float
    _qps: float = 0.0
    _at_s: float = 0.0
    _has_events: bool = False

    def expect(self, qps: float, now_s: float) -> None:
        """Start from a forecast, unless there were events."""
        if not self._has_events:
            self._qps, self._at_s = qps, now_s

    def count(self, now_s: float) -> None:
        """Take in one event."""
        self._qps, self._at_s = self.at(now_s) + 1.0 / self.memory_s, now_s
        self._has_events = True

    def at(self, now_s: float) -> float:
        """Return the estimate, events per second."""
        return self._qps * math.exp(-(now_s - self._at_s) / self.memory_s)


@dataclass(slots=True)
class PoolPrice:
    """The price of the heavy workers of one variant: it clears their market.

    Over the next SLO the workers can do so much; what waits comes off that, and what surely comes.
    The rest is for the light images expected meanwhile, of which those are deferred that gain more
    than they cost. The price is the lowest at which these are not too many. It is the dual of the
    plan's capacity constraint with what is known *now* in place of the planner's forecast, so a
    burst raises it within ``REFRESH_S``, and cascades that share the workers compete by gain.

    Attributes:
        gains: By ``cascade_id``, of the cascades that defer to this variant; in one unit.
        window_s: Their shortest SLO.
        price: Quality per second of a worker; 0 while there is time for all that gain anything.
    """

    gains: Mapping[str, GainCurve]
    window_s: float
    price: float = 0.0
    _shares: dict[str, float] = field(default_factory=dict)
    _images: dict[str, Rate] = field(default_factory=dict)
    _certain: Rate = field(init=False)
    _found_s: float = -math.inf

    def __post_init__(self) -> None:
        memory_s = MEMORY_SHARE * self.window_s
        self._images = {cascade_id: Rate(memory_s) for cascade_id in self.gains}
        self._certain = Rate(memory_s)

    def join(self, other: PoolPrice) -> None:
        """Clear the market for the cascades of another price too, which is of the same variant."""
        self.gains = {**self.gains, **other.gains}
        self._images |= other._images
        self._expect_within(min(self.window_s, other.window_s))
        self._found_s = -math.inf

    def _expect_within(self, window_s: float) -> None:
        self.window_s = window_s
        for rate in (self._certain, *self._images.values()):
            rate.memory_s = MEMORY_SHARE * window_s

    def follow(self, variant_id: str, plan: Plan, now_s: float) -> None:
        """Take over the SLOs in force; start from a plan's price and demand if nothing is known."""
        slos = [plan.cascades[c].slo_s for c in self.gains if c in plan.cascades]
        if slos and min(slos) > 0.0 and min(slos) != self.window_s:
            self._expect_within(min(slos))
        if self._found_s == -math.inf:
            self.price = plan.prices.get(variant_id, 0.0)
        for cascade_id, rate in self._images.items():
            if cascade_id in plan.cascades:
                rate.expect(plan.cascades[cascade_id].demand_qps, now_s)

    def image(self, cascade_id: str, now_s: float) -> None:
        """Count a light image that may be deferred."""
        self._images[cascade_id].count(now_s)

    def certain(self, now_s: float) -> None:
        """Count a query that goes to the heavy variant whatever the price."""
        self._certain.count(now_s)

    def share(self, cascade_id: str, heavy: Pool, now_s: float) -> float:
        """Return which share of a cascade's light images gains more than it costs now, 0..1."""
        if not now_s < self._found_s + REFRESH_S:
            self._clear(heavy, now_s)
            self._found_s = now_s
        return self._shares[cascade_id]

    def _clear(self, heavy: Pool, now_s: float) -> None:
        """Find the price, by bisection: the demand for deferrals falls as it rises."""
        query_s = 1.0 / heavy.full_batch_qps
        arriving = {cascade_id: rate.at(now_s) for cascade_id, rate in self._images.items()}
        free_qps = self._free_qps(heavy, now_s)
        low, high = 0.0, max(curve.gains[0] for curve in self.gains.values()) / query_s
        if self._wanted_qps(low * query_s, arriving) <= free_qps:
            high = low
        for _ in range(_STEPS if high > low else 0):
            middle = (low + high) / 2.0
            if self._wanted_qps(middle * query_s, arriving) <= free_qps:
                high = middle
            else:
                low = middle
        self.price = high
        self._shares = {c: curve.share_at(high * query_s) for c, curve in self.gains.items()}

    def _wanted_qps(self, cost: float, arriving: Mapping[str, float]) -> float:
        return sum(qps * self.gains[c].share_at(cost) for c, qps in arriving.items())

    def _free_qps(self, heavy: Pool, now_s: float) -> float:
        """Return the deferrals per second that the workers can take in over the window.

        Without workers no price is right; that the heavy image never comes decides then.
        """
        if not heavy.members:
            return math.inf
        # Never less than the time between two free workers, else a full batch would leave no room.
        room_s = max(self.window_s - heavy.full_batch_s, heavy.full_batch_s / heavy.capacity)
        time_s = self.window_s + FREE_SHARE * room_s - heavy.drain_s
        capacity_qps = heavy.capacity * heavy.full_batch_qps
        return capacity_qps * time_s / self.window_s - self._certain.at(now_s)


def pool_prices(
    cascades: Mapping[str, Cascade],
    quality: Mapping[str, QualityCurve],
    classes: Mapping[str, RequestClass],
) -> dict[str, PoolPrice]:
    """Return a price for each heavy variant.

    Args:
        cascades: By ``cascade_id``.
        quality: By ``cascade_id``, in one unit for those that share a heavy variant.
        classes: Their weights say what a cascade's quality counts.
    """
    weights = {c: named.weight for named in classes.values() for c in named.cascade_ids}
    sharing: dict[str, list[Cascade]] = {}
    for cascade in cascades.values():
        sharing.setdefault(cascade.heavy, []).append(cascade)
    return {
        heavy: PoolPrice(
            gains={
                c.cascade_id: GainCurve.of(
                    quality[c.cascade_id].flat_beyond(c.deferral_max),
                    weights.get(c.cascade_id, 1.0),
                )
                for c in users
            },
            window_s=min(c.slo_s for c in users),
        )
        for heavy, users in sharing.items()
    }
