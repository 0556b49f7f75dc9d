"""HADIS's table of configurations, and which of them a fleet can carry.

HADIS (arXiv 2509.00642, §4) profiles every pair of models beforehand: a *row* says what quality a
pair has when its router sends a share r of the prompts straight to the heavy model and its
discriminator defers a share d of the others. At run time it takes the best row that fits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from diffserve.catalog import Catalog
from diffserve.core import Cascade
from diffserve.profiles.latency import LatencyProfile

_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Row:
    """A configuration.

    Attributes:
        cascade: The pair.
        bypass_fraction: r, share of prompts that skip the light model.
        deferral_fraction: d, share deferred of the others.
        quality: Of all answers, higher is better.
    """

    cascade: Cascade
    bypass_fraction: float
    deferral_fraction: float
    quality: float

    @property
    def heavy_share(self) -> float:
        """Share of the queries that run heavy: r + (1 - r) d, the column "threshold" of HADIS."""
        return self.bypass_fraction + (1.0 - self.bypass_fraction) * self.deferral_fraction


def table_rows(catalog: Catalog, cascade_ids: Iterable[str]) -> list[Row]:
    """Return every profiled row of some cascades."""
    rows = []
    for cascade_id in cascade_ids:
        cascade, curve = catalog.cascades[cascade_id], catalog.quality[cascade_id]
        rows += [
            Row(cascade, 0.0, share, quality)
            for share, quality in zip(curve.fractions, curve.qualities, strict=True)
        ]
        rows += [
            Row(cascade, point.fraction, share, quality)
            for point in catalog.bypass.get(cascade_id, ())
            for share, quality in zip(point.quality.fractions, point.quality.qualities, strict=True)
        ]
    return rows


def pareto_front(rows: Iterable[Row], latency: Mapping[str, LatencyProfile]) -> list[Row]:
    """Return the rows that no other one beats in both mean latency and quality, fastest first.

    Of HADIS's tables these are 47 rows, all of neighbouring pairs. Its artifact ships 49: it kept
    some of equal latency; plans are the same with either.
    """

    def mean_s(row: Row) -> float:
        light_s, heavy_s = (
            latency[v].execution_s(1) for v in (row.cascade.light, row.cascade.heavy)
        )
        return round((1.0 - row.bypass_fraction) * light_s + row.heavy_share * heavy_s, 9)

    front: list[Row] = []
    for row in sorted(rows, key=lambda row: (mean_s(row), -row.quality)):
        if not front or row.quality > front[-1].quality:
            front.append(row)
    return front


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a row must carry.

    Attributes:
        num_workers: Identical workers.
        demand_qps: Arrival rate to plan for.
        slo_s: Allowed duration.
        latency: By variant.
        wait_s: Expected wait by variant; absent: none.
        bypass_saves_light: Queries that skip the light model need none of it. HADIS plans light
            capacity for all of them.
    """

    num_workers: int
    demand_qps: float
    slo_s: float
    latency: Mapping[str, LatencyProfile]
    wait_s: Mapping[str, float] = field(default_factory=dict)
    bypass_saves_light: bool = False


@dataclass(frozen=True, slots=True)
class Fit:
    """A row and the fewest workers that carry it.

    Attributes:
        row: Which.
        light_workers: Of the light model.
        light_batch_size: Their batch.
        heavy_workers: Of the heavy model.
        heavy_batch_size: Their batch.
    """

    row: Row
    light_workers: int
    light_batch_size: int
    heavy_workers: int
    heavy_batch_size: int


def best_fit(rows: Sequence[Row], load: Load) -> Fit | None:
    """Return the row of highest quality that the fleet carries; None: there is none.

    HADIS solves a MILP for each pair and takes the best pair; with a few dozen rows and six batch
    sizes, trying all gives the same. Batches of both models and both waits must fit the SLO, also
    where a row never uses the heavy model, and of several batch sizes the fastest are taken.
    """
    for row in sorted(rows, key=lambda row: -row.quality):
        fit = _fit(row, load)
        if fit is not None:
            return fit
    return None


def _fit(row: Row, load: Load) -> Fit | None:
    light, heavy = load.latency[row.cascade.light], load.latency[row.cascade.heavy]
    spent_s = load.wait_s.get(row.cascade.light, 0.0) + load.wait_s.get(row.cascade.heavy, 0.0)
    pairs = itertools.product(light.batch_sizes, heavy.batch_sizes)
    light_share = 1.0 - row.bypass_fraction if load.bypass_saves_light else 1.0

    def seconds(pair: tuple[int, int]) -> float:
        return round(light.execution_s(pair[0]) + heavy.execution_s(pair[1]), 9)

    for pair in sorted(pairs, key=seconds):
        if seconds(pair) + spent_s > load.slo_s + _TOLERANCE:
            return None
        num_light = _workers(load.demand_qps * light_share, light, pair[0])
        num_heavy = _workers(load.demand_qps * row.heavy_share, heavy, pair[1])
        if num_light + num_heavy <= load.num_workers:
            return Fit(row, num_light, pair[0], num_heavy, pair[1])
    return None


def _workers(rate_qps: float, profile: LatencyProfile, batch_size: int) -> int:
    return math.ceil(rate_qps / profile.throughput_qps(batch_size) - _TOLERANCE)
