"""Which confidences an image is ranked among, and whose sketch its own one joins."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from diffserve.catalog import Catalog
from diffserve.core import Population
from diffserve.errors import InputError, NotFoundError
from diffserve.profiles.sketch import QuantileSketch, newcomer_sketch, profile_sketch
from diffserve.scoring.profiles import deferral_profiles

logger = logging.getLogger(__name__)

NUM_FOREIGN_MAX = 64
"""Populations per discriminator of variants that the catalog lacks: clients could invent names."""
NAME_LENGTH_MAX = 128
NUM_RANKS = 256
"""Quantiles of a sketch that those who score elsewhere rank among."""


@dataclass(frozen=True, slots=True)
class Score:
    """A confidence and the share of its population's recent ones below it, each in [0, 1]."""

    confidence: float
    percentile: float


class Populations:
    """The sketch of each population; lives on the event loop.

    Attributes:
        sketches: Recent confidences. Those of the catalog's cascades are there from the start and
            repeat their deferral profiles; others come with their first image.
        lasting: Populations that the catalog's variants, and images of none, have or may get.
    """

    def __init__(self, catalog: Catalog, capacity: int) -> None:
        """Make sketches of at most ``capacity`` confidences."""
        self.sketches: dict[Population, QuantileSketch] = {}
        self.lasting = tuple(
            Population(name, variant_id)
            for name in catalog.discriminators
            for variant_id in ("", *catalog.variants)
        )
        self._discriminators = tuple(catalog.discriminators)
        self._capacity = capacity
        self._full: set[str] = set()
        self.add_cascades(catalog)

    def add_cascades(self, catalog: Catalog) -> None:
        """Make sketches for the cascades that a catalog has more; those that are there stay."""
        for population, profile in deferral_profiles(catalog).items():
            self.sketches.setdefault(population, profile_sketch(profile, self._capacity))

    def checked(self, discriminator: str, variant_id: str) -> Population:
        """Return the population of a request.

        Raises:
            NotFoundError: there is no such discriminator.
            InputError: that is no name of a variant.
        """
        if discriminator not in self._discriminators:
            known = ", ".join(self._discriminators)
            raise NotFoundError(f"discriminator: no {discriminator!r}; there are: {known}")
        if len(variant_id) > NAME_LENGTH_MAX or not variant_id.isprintable():
            raise InputError(
                "variant_id", f"must be at most {NAME_LENGTH_MAX} printable characters"
            )
        return Population(discriminator, variant_id)

    def sketch(self, population: Population) -> QuantileSketch:
        """Return the sketch to rank confidences among; a newcomer's is not kept."""
        known = self.sketches.get(population)
        if known is not None:
            return known
        others = [
            s for p, s in self.sketches.items() if p.discriminator == population.discriminator
        ]
        return newcomer_sketch(others, self._capacity)

    def ranked(self, population: Population, confidences: Sequence[float]) -> list[Score]:
        """Return scores of images, each ranked among what its population is known to have."""
        sketch = self.sketch(population)
        return [Score(value, sketch.percentile(value)) for value in confidences]

    def admit(self, population: Population) -> bool:
        """Return whether confidences may join a population, which exists from then on if so."""
        if population in self.sketches:
            return True
        if population not in self.lasting and not self._has_room(population.discriminator):
            return False
        self.sketches[population] = self.sketch(population)
        return True

    def join(self, population: Population, confidences: Iterable[float]) -> None:
        """Take confidences, oldest first, into the sketch of a population that may have one."""
        if self.admit(population):
            for value in confidences:
                self.sketches[population].add(value)

    def restore(self, population: Population, confidences: Iterable[float]) -> None:
        """Put what an earlier process saw, oldest first, in place of what is known.

        Raises:
            ValueError: one is outside 0..1; nothing changes.
        """
        self.sketches[population] = QuantileSketch(self._capacity, confidences)

    def _has_room(self, discriminator: str) -> bool:
        foreign = [
            population
            for population in self.sketches
            if population.discriminator == discriminator and population not in self.lasting
        ]
        if len(foreign) < NUM_FOREIGN_MAX:
            return True
        if discriminator not in self._full:
            self._full.add(discriminator)
            logger.warning(
                "discriminator %s: %d variants that the catalog lacks; images of further ones are "
                "ranked among all",
                *(discriminator, len(foreign)),
            )
        return False
