"""What a trace file holds, whatever its format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from diffserve.sim.shapes import RateCurve

NUM_PROMPTS = 5000
"""Formats without prompt ids are given these many, in turn."""


@dataclass(frozen=True, slots=True)
class Instants:
    """One entry per query.

    Attributes:
        times_s: Ascending, seconds, none negative.
        prompt_ids: Of the same queries.
        places: Where each stands in the file: line, or entry, from 1.
        resolution_s: What the file rounds its times down to, seconds; 0: nothing worth mentioning.
    """

    times_s: NDArray[np.float64]
    prompt_ids: NDArray[np.int64]
    places: NDArray[np.int64]
    resolution_s: float = 0.0

    @staticmethod
    def of(
        timed: Iterable[tuple[int, float]],
        prompt_ids: Sequence[int] | None = None,
        resolution_s: float = 0.0,
    ) -> Instants:
        """Return the queries in the order of time.

        Args:
            timed: Place in the file and time of each, in any order; equal times keep theirs.
            prompt_ids: Default: ids in turn, in the order of the file.
            resolution_s: Of the times.
        """
        table = np.fromiter(timed, dtype=[("place", np.int64), ("time_s", np.float64)])
        times, count = table["time_s"], len(table)
        ids = np.arange(count) % NUM_PROMPTS if prompt_ids is None else np.array(prompt_ids)
        order = np.argsort(times, kind="stable")
        return Instants(times[order], ids[order], table["place"][order], resolution_s)

    def from_zero(self) -> Instants:
        """Return the same queries with the first one at 0: for times since some far epoch."""
        return replace(self, times_s=self.times_s - self.times_s[0])

    def faster(self, factor: float) -> Instants:
        """Return the same queries in a time that is ``factor`` times shorter."""
        return replace(self, times_s=self.times_s / factor, resolution_s=self.resolution_s / factor)

    def spread(self, generator: np.random.Generator) -> Instants:
        """Return the queries anywhere within the time that their rounded-down times stand for.

        Without this, a minute's queries would all arrive in its first instant.
        """
        if self.resolution_s <= 0.0:
            return self
        times = self.times_s + generator.uniform(0.0, self.resolution_s, len(self.times_s))
        order = np.argsort(times, kind="stable")
        return Instants(times[order], self.prompt_ids[order], self.places[order])


Contents = Instants | RateCurve
"""A file either knows every query, or only how many there were in each minute."""
