"""Demand to plan for, estimated from counted arrivals.

The estimate follows arrivals, never queries in the system: a backlog is not a rate
(docs/divergences.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from diffserve.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DemandState:
    """What the estimator remembers between periods.

    Attributes:
        mean_qps: Smoothed arrival rate.
        dispersion: Index of dispersion of counts I, variance / mean; 1 for Poisson arrivals, and
            never taken below 1.
        num_periods: Periods seen so far.
    """

    mean_qps: float = 0.0
    dispersion: float = 1.0
    num_periods: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandParameters:
    """How fast the estimate moves and how much headroom it adds.

    An EWMA whose gain depends on surprise. Near the expected count a sample is noise and the slow
    gain applies; from three standard deviations on it is news: upward steps are followed within two
    periods, because late capacity costs deadlines, downward ones within a few, because late release
    costs only quality. Paper: §3.3 (EWMA with fixed over-provisioning).

    Attributes:
        half_life_s: Memory of the mean while arrivals are as expected.
        rise_gain: Weight of a sample far above the mean, (0, 1].
        fall_gain: Weight of a sample far below the mean, (0, 1].
        dispersion_half_life_s: Memory of the index of dispersion.
        quantile_z: Standard deviations of headroom; 0.5 covers 69 % of Poisson windows. The queue,
            with a deadline far beyond one execution, absorbs the others.
        horizon_s: Window over which the headroom must hold; longer windows average out more. Near
            the SLO is a good value: shorter bursts are absorbed by the queue.
    """

    half_life_s: float = 6.0
    rise_gain: float = 0.9
    fall_gain: float = 0.5
    dispersion_half_life_s: float = 30.0
    quantile_z: float = 0.5
    horizon_s: float = 4.0

    def __post_init__(self) -> None:
        for name in ("half_life_s", "dispersion_half_life_s", "horizon_s"):
            if getattr(self, name) <= 0.0:
                raise ConfigError(f"demand {name}: must be above 0")
        for name in ("rise_gain", "fall_gain"):
            if not 0.0 < getattr(self, name) <= 1.0:
                raise ConfigError(f"demand {name}: must be in (0, 1]")
        if self.quantile_z < 0.0:
            raise ConfigError("demand quantile_z: must not be negative")

    def observe(self, state: DemandState, arrivals: int, interval_s: float) -> DemandState:
        """Take in the ``arrivals`` counted during the last ``interval_s`` seconds. Pure."""
        if interval_s <= 0.0:
            return state
        sample_qps = arrivals / interval_s
        if state.num_periods == 0:
            return DemandState(mean_qps=sample_qps, num_periods=1)
        gain = self._gain(state, arrivals, interval_s)
        return DemandState(
            mean_qps=state.mean_qps + gain * (sample_qps - state.mean_qps),
            dispersion=self._dispersion(state, arrivals, interval_s),
            num_periods=state.num_periods + 1,
        )

    def _gain(self, state: DemandState, arrivals: int, interval_s: float) -> float:
        """Slow within 1.5 standard deviations, fast beyond 3, in between in proportion.

        Deviations are taken between square roots of counts (Anscombe): these are as wide at every
        rate and nearly symmetric, so noise at low rates does not push the mean upwards.
        """
        expected = state.mean_qps * interval_s
        deviation = 2.0 * (math.sqrt(arrivals + 0.375) - math.sqrt(expected + 0.375))
        surprise = deviation / math.sqrt(state.dispersion)
        slow = _ewma_gain(interval_s, self.half_life_s)
        fast = max(slow, self.rise_gain if surprise > 0.0 else self.fall_gain)
        news = min(1.0, max(0.0, (abs(surprise) - 1.5) / 1.5))
        return slow + news * (fast - slow)

    def _dispersion(self, state: DemandState, arrivals: int, interval_s: float) -> float:
        """Average squared deviations over the mean, each cut at 3 deviations: a step is no burst.

        At least one arrival counts as expected, else a single query after silence weighs for ever.
        """
        expected = max(state.mean_qps * interval_s, 1.0)
        deviation = arrivals - state.mean_qps * interval_s
        measured = min(deviation * deviation / expected, 9.0 * state.dispersion)
        gain = _ewma_gain(interval_s, self.dispersion_half_life_s)
        return max(1.0, state.dispersion + gain * (measured - state.dispersion))

    def demand_qps(self, state: DemandState) -> float:
        """Return the rate to plan for: mean + z sqrt(I mean / horizon). Pure."""
        variance = state.dispersion * state.mean_qps / self.horizon_s
        return state.mean_qps + self.quantile_z * math.sqrt(variance)


def _ewma_gain(interval_s: float, half_life_s: float) -> float:
    return float(1.0 - 0.5 ** (interval_s / half_life_s))
