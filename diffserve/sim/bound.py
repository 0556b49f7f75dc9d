"""What nobody can beat: a clairvoyant who serves each window as a fluid, without any queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffserve.profiles.curves import QualityCurve
from diffserve.profiles.latency import LatencyProfile

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
