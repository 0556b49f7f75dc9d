"""How each discriminator's confidences were distributed when its cascade was measured."""

from __future__ import annotations

from diffserve.catalog import Catalog
from diffserve.profiles.curves import DeferralProfile


def deferral_profiles(catalog: Catalog) -> dict[str, DeferralProfile]:
    """Return the deferral profile of each discriminator: of the first cascade that names it."""
    profiles: dict[str, DeferralProfile] = {}
    for cascade_id, cascade in catalog.cascades.items():
        profiles.setdefault(cascade.discriminator, catalog.deferral[cascade_id])
    return profiles
