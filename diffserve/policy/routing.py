"""Which cascade of its request class serves a query. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from diffserve.core import Cascade, CascadeStage, Preference, Query, RequestClass
from diffserve.policy.fleet import Fleet
from diffserve.profiles.curves import QualityCurve


class Rotation:
    """Smooth weighted round robin: after any number of queries no cascade is far from its share.

    Every candidate earns its share with each query; the richest is chosen and pays one. Counts
    differ from the exact shares by less than one query per candidate, and choices of one cascade
    are spread evenly, so no worker pool sees bursts that the class did not bring.
    """

    def __init__(self) -> None:
        self._credits: dict[str, float] = {}

    def choose(self, shares: Mapping[str, float]) -> str:
        """Return the cascade of the next query.

        Args:
            shares: ``cascade_id`` -> share of the queries, at least one candidate. Negative ones
                count as 0, and where all are 0 the first candidate is taken.
        """
        wanted = {cascade_id: share for cascade_id, share in shares.items() if share > 0.0}
        if len(wanted) < 2:
            self._credits = {}
            return next(iter(wanted or shares))
        total = sum(wanted.values())
        self._credits = {
            cascade_id: self._credits.get(cascade_id, 0.0) + share / total
            for cascade_id, share in wanted.items()
        }
        # Rounding of sums must not decide between candidates that are as rich.
        chosen = max(self._credits, key=lambda cascade_id: round(self._credits[cascade_id], 9))
        self._credits[chosen] -= 1.0
        return chosen


class ClassRouter:
    """Follows the plan's shares of every request class."""

    def __init__(
        self,
        cascades: Mapping[str, Cascade],
        classes: Mapping[str, RequestClass],
        quality: Mapping[str, QualityCurve],
    ) -> None:
        """Remember who may answer whom.

        Args:
            cascades: By ``cascade_id``; the owner may add some, and calls ``add`` then.
            classes: By ``class_id``.
            quality: By ``cascade_id``; its end says how good the heavy variant is.
        """
        self._cascades = cascades
        self._candidates: dict[str, tuple[str, ...]] = {}
        self._rotations: dict[str, Rotation] = {}
        self._class_ids: dict[str, str] = {}
        self._heavy_quality: dict[str, float] = {}
        self.add(classes, quality)

    def add(self, classes: Mapping[str, RequestClass], quality: Mapping[str, QualityCurve]) -> None:
        """Know further classes and the cascades that were added; what is known stays."""
        known = self._heavy_quality
        self._heavy_quality = {c: q.quality_at(1.0) for c, q in quality.items()} | known
        for class_id, request_class in classes.items():
            if class_id not in self._rotations:
                members = tuple(c for c in request_class.cascade_ids if c in self._cascades)
                self._candidates[class_id], self._rotations[class_id] = members, Rotation()
                for cascade_id in members:
                    self._class_ids.setdefault(cascade_id, class_id)
        self._mixed = _mixed_lights(self._cascades)

    def choose(self, name: str, fleet: Fleet, preference: Preference = Preference.AUTO) -> str:
        """Return the cascade of the next query that names a cascade or a class.

        Cascades whose light variant has no worker right now are passed over while others of the
        class have; one that is named, too, since the load may leave it none for hours. A client
        that asks for heavy gets the best heavy variant that a worker holds, whatever the shares:
        those say which one the load allows for everybody.
        """
        if name in self._cascades:
            others = self._candidates.get(self._class_ids.get(name, ""), ())
            lights = [c for c in (name, *others) if self._has(c, CascadeStage.LIGHT, fleet)]
            if name in lights or not lights:
                return name
            name = self._class_ids[name]
        candidates = self._candidates[name]
        planned = {c: fleet.planned(c) for c in candidates}
        shares = {c: plan.class_share if plan else 0.0 for c, plan in planned.items()}
        ready = {c: shares[c] for c in candidates if self._has(c, CascadeStage.LIGHT, fleet)}
        if preference is Preference.HEAVY:
            whole = [c for c in ready if self._has(c, CascadeStage.HEAVY, fleet)]
            if whole:
                return max(whole, key=lambda c: self._heavy_quality.get(c, -math.inf))
        return self._rotations[name].choose(ready or shares)

    def _has(self, cascade_id: str, stage: CascadeStage, fleet: Fleet) -> bool:
        """Return whether a stage of a cascade has workers right now."""
        return bool(fleet.pool(self._cascades[cascade_id].variant_at(stage), stage).members)

    def batchable(self, query: Query) -> Query:
        """Return a query for a light queue: only those with one discriminator share a batch."""
        cascade = self._cascades[query.cascade_id]
        if cascade.light not in self._mixed:
            return query
        return replace(query, compat_key=f"{query.compat_key}|{cascade.discriminator}")


def _mixed_lights(cascades: Mapping[str, Cascade]) -> frozenset[str]:
    """Return the light variants whose images several discriminators score."""
    scorers: dict[str, set[str]] = {}
    for cascade in cascades.values():
        scorers.setdefault(cascade.light, set()).add(cascade.discriminator)
    return frozenset(light for light, names in scorers.items() if len(names) > 1)
