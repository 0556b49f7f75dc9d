"""How much a load balancer defers right now: the plan's aim, the price of the workers, the pace."""

from __future__ import annotations

from collections.abc import Mapping

from diffserve.core import Cascade, CascadeStage, Plan, RequestClass
from diffserve.policy.fleet import Fleet
from diffserve.policy.pacing import Pacer
from diffserve.policy.prices import PoolPrice, pool_prices
from diffserve.profiles.curves import QualityCurve


class Deferrals:
    """Prices by heavy variant and pacers by cascade; ids of cascades name both."""

    def __init__(
        self,
        cascades: Mapping[str, Cascade],
        quality: Mapping[str, QualityCurve],
        classes: Mapping[str, RequestClass],
        fleet: Fleet,
    ) -> None:
        self._cascades = cascades
        self._fleet = fleet
        self._prices = pool_prices(cascades, quality, classes)
        self._pacers = {cascade_id: Pacer() for cascade_id in cascades}

    def add(
        self,
        cascades: Mapping[str, Cascade],
        quality: Mapping[str, QualityCurve],
        classes: Mapping[str, RequestClass],
    ) -> None:
        """Know further cascades, which the mapping given at the start has as well."""
        for heavy, price in pool_prices(cascades, quality, classes).items():
            if heavy in self._prices:
                self._prices[heavy].join(price)
            else:
                self._prices[heavy] = price
        self._pacers |= {cascade_id: Pacer() for cascade_id in cascades}

    def follow(self, plan: Plan, now_s: float) -> None:
        """Learn from a plan in force what to expect."""
        for variant_id, price in self._prices.items():
            price.follow(variant_id, plan, now_s)

    def price(self, cascade_id: str) -> PoolPrice:
        """Return the price of a cascade's heavy workers."""
        return self._prices[self._cascades[cascade_id].heavy]

    def wanted_share(self, cascade_id: str, now_s: float) -> float:
        """Return which share of a cascade's light images is worth deferring now, 0..1."""
        planned = self._fleet.planned(cascade_id)
        if planned is None:
            return 0.0
        if planned.is_pinned:
            return planned.deferral_target
        heavy = self._fleet.pool(self._cascades[cascade_id].heavy, CascadeStage.HEAVY)
        share = self.price(cascade_id).share(cascade_id, heavy, now_s)
        return min(planned.deferral_target, share)

    def threshold(self, cascade_id: str, now_s: float) -> float:
        """Return the percentile below which light images are deferred now."""
        return self._pacers[cascade_id].threshold(self.wanted_share(cascade_id, now_s))

    def decided(self, cascade_id: str, now_s: float, *, is_deferred: bool) -> None:
        """Take in a decision by this threshold."""
        wanted = self.wanted_share(cascade_id, now_s)
        self._pacers[cascade_id].record(wanted, is_deferred=is_deferred)

    def bypass_fraction(self, cascade_id: str, now_s: float) -> float:
        """Return which share of a cascade's queries skips the light variant now.

        The planned one; scarce workers serve fewer by as much as they serve fewer of the deferred.
        """
        planned = self._fleet.planned(cascade_id)
        if planned is None or planned.bypass_fraction <= 0.0:
            return 0.0
        if planned.deferral_target <= 0.0:
            return planned.bypass_fraction
        wanted = self.wanted_share(cascade_id, now_s)
        return planned.bypass_fraction * wanted / planned.deferral_target
