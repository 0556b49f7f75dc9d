"""What nobody can beat: a clairvoyant who serves each window as a fluid, without any queue."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from diffserve.core import Cascade
from diffserve.profiles.curves import QualityCurve
from diffserve.profiles.latency import LatencyProfile
from diffserve.sim.quality import QualityTable

_STEPS = 1000


@dataclass(frozen=True, slots=True)
class FluidBound:
    """The bound of a run.

    Attributes:
        heavy_shares: Best share of heavy answers in each window.
        device_busy: Mean share of the devices' time that these need.
    """

    heavy_shares: tuple[float, ...]
    device_busy: float


def fluid_bound(
    arrivals: Sequence[int],
    window_s: float,
    num_workers: int,
    slo_s: float,
    light: LatencyProfile,
    heavy: LatencyProfile,
    quality: QualityCurve,
) -> FluidBound:
    """Return the best any system could do with known arrivals, whole windows at a time. Pure.

    In each window the share f maximises q(f) subject to D / T_light + f D / T_heavy <= workers,
    with the best throughputs that batches within the SLO reach. Arrivals spread over their window
    and workers divide at will; of equally good shares the cheapest is taken.

    Args:
        arrivals: Per window.
        window_s: Length of a window.
        num_workers: Devices.
        slo_s: Allowed duration; a light and a heavy batch must fit one after the other.
        light: Latency of the light variant.
        heavy: Latency of the heavy variant.
        quality: Quality by share.
    """
    shares, busy = [], 0.0
    light_work, heavy_work = _work_s(light, heavy, slo_s)
    for count in arrivals:
        if count == 0:
            continue
        rate_qps = count / window_s
        affordable = (num_workers / rate_qps - light_work) / heavy_work
        share = _best_share(quality, min(1.0, max(0.0, affordable)))
        shares.append(share)
        busy += min(1.0, rate_qps * (light_work + share * heavy_work) / num_workers)
    return FluidBound(tuple(shares), busy / max(1, len(arrivals)))


def _work_s(light: LatencyProfile, heavy: LatencyProfile, slo_s: float) -> tuple[float, float]:
    """Least device seconds per query of each stage; infinite heavy work where nothing fits."""
    light_work = min(
        light.execution_s(b) / b
        for b in light.batch_sizes
        if b == 1 or light.execution_s(b) <= slo_s
    )
    fitting = [b for b in heavy.batch_sizes if light.execution_s(1) + heavy.execution_s(b) <= slo_s]
    return light_work, min((heavy.execution_s(b) / b for b in fitting), default=float("inf"))


def _best_share(quality: QualityCurve, affordable: float) -> float:
    grid = (affordable * step / _STEPS for step in range(_STEPS + 1))
    return max(grid, key=lambda share: (quality.quality_at(share), -share))


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedCascade:
    """One of several cascades that a fluid may divide itself among.

    Attributes:
        cascade: With the SLO of the run.
        light: Latency of its light variant.
        heavy: Latency of its heavy variant.
        table: Quality by shares deferred and bypassed.
    """

    cascade: Cascade
    light: LatencyProfile
    heavy: LatencyProfile
    table: QualityTable


def mixture_bound(
    arrivals: Sequence[int], window_s: float, num_workers: int, cascades: Sequence[MixedCascade]
) -> tuple[float, float]:
    """Return the best quality of a clairvoyant who mixes cascades, and its busy share. Pure.

    As ``fluid_bound``, where every query may take any cascade, any deferral and any bypass share
    of its table. With quality that mixes linearly (``sim.quality.ClassTable``) the best mixture
    for a budget of work per query lies on the upper concave hull of quality over work.

    Args:
        arrivals: Per window.
        window_s: Length of a window.
        num_workers: Devices, all alike.
        cascades: What there is to choose from.

    Returns:
        The mean over windows with arrivals, in the sign of the table (NaN without any), and the
        mean share of the devices' time.
    """
    hull = _upper_hull(sorted(point for c in cascades for point in _points(c)))
    qualities, busy = [], 0.0
    for count in arrivals:
        if count == 0:
            continue
        rate_qps = count / window_s
        work, quality = _on_hull(hull, num_workers / rate_qps)
        qualities.append(quality)
        busy += min(1.0, rate_qps * work / num_workers)
    if not qualities:
        return float("nan"), 0.0
    sign = -1.0 if cascades[0].table.is_lower_better else 1.0
    return sign * sum(qualities) / len(qualities), busy / len(arrivals)


def _points(mixed: MixedCascade) -> Iterator[tuple[float, float]]:
    """Yield (device seconds per query, quality) over the table, higher is better."""
    light_work, heavy_work = _work_s(mixed.light, mixed.heavy, mixed.cascade.slo_s)
    yield light_work, mixed.table.curve.qualities[0]
    if math.isinf(heavy_work):
        return
    curves = [(0.0, mixed.table.curve)]
    curves += [(point.fraction, point.quality) for point in mixed.table.bypass]
    for bypassed, curve in curves:
        for deferred in curve.fractions:
            heavy_share = bypassed + (1.0 - bypassed) * deferred
            work = (1.0 - bypassed) * light_work + heavy_share * heavy_work
            yield work, curve.quality_at(deferred)


def _upper_hull(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the corners of the concave hull up to its highest point, by rising work."""
    hull: list[tuple[float, float]] = []
    for work, quality in points:
        if hull and quality <= hull[-1][1]:
            continue  # more work and no better
        while hull and hull[-1][0] == work:
            hull.pop()
        while len(hull) > 1 and not _is_above(hull[-2], hull[-1], (work, quality)):
            hull.pop()
        hull.append((work, quality))
    return hull


def _is_above(
    left: tuple[float, float], middle: tuple[float, float], right: tuple[float, float]
) -> bool:
    rise = (right[1] - left[1]) * (middle[0] - left[0])
    return (middle[1] - left[1]) * (right[0] - left[0]) > rise


def _on_hull(hull: Sequence[tuple[float, float]], work: float) -> tuple[float, float]:
    """Return the best point of at most this work; the cheapest where even that is too much."""
    if work <= hull[0][0]:
        return hull[0]
    for (low, start), (high, end) in itertools.pairwise(hull):
        if work < high:
            return work, start + (end - start) * (work - low) / (high - low)
    return hull[-1]
