"""How confidences were distributed when the cascades of a catalog were measured."""

from __future__ import annotations

from diffserve.catalog import Catalog
from diffserve.core import Population
from diffserve.profiles.curves import DeferralProfile


def deferral_profiles(catalog: Catalog) -> dict[Population, DeferralProfile]:
    """Return the deferral profile of each population: of the first cascade that has it."""
    profiles: dict[Population, DeferralProfile] = {}
    for cascade_id, cascade in catalog.cascades.items():
        profiles.setdefault(cascade.population, catalog.deferral[cascade_id])
    return profiles
