from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffserve.errors import ConfigError
from diffserve.policy.demand import DemandParameters, DemandState

PERIOD_S = 2.0
PARAMETERS = DemandParameters()


def poisson(rng: random.Random, mean: float) -> int:
    """Count exponential gaps (mean below some hundreds)."""
    count, elapsed = 0, rng.expovariate(1.0)
    while elapsed < mean:
        count, elapsed = count + 1, elapsed + rng.expovariate(1.0)
    return count


def settled(rate_qps: float, periods: int = 60) -> DemandState:
    """The state after a long steady stream without noise."""
    state = DemandState()
    for _ in range(periods):
        state = PARAMETERS.observe(state, round(rate_qps * PERIOD_S), PERIOD_S)
    return state


def test_first_period_is_taken_as_it_is():
    state = PARAMETERS.observe(DemandState(), 30, PERIOD_S)
    assert state == DemandState(mean_qps=15.0, dispersion=1.0, num_periods=1)


@pytest.mark.parametrize("rate_qps", [1.0, 5.0, 20.0, 100.0])
def test_poisson_stream_gives_its_rate_and_a_dispersion_near_1(rate_qps):
    rng = random.Random(7)
    state, means, dispersions = DemandState(), [], []
    for period in range(400):
        state = PARAMETERS.observe(state, poisson(rng, rate_qps * PERIOD_S), PERIOD_S)
        if period > 30:
            means.append(state.mean_qps)
            dispersions.append(state.dispersion)
    assert statistics.fmean(means) == pytest.approx(rate_qps, rel=0.1)
    assert 1.0 <= statistics.fmean(dispersions) < 1.6


def test_headroom_covers_most_windows_of_a_poisson_stream():
    rng, rate_qps = random.Random(3), 20.0
    state, covered, windows = DemandState(), 0, 500
    for _ in range(windows + 20):
        planned_qps = PARAMETERS.demand_qps(state)
        window = [poisson(rng, rate_qps * PERIOD_S) for _ in range(2)]
        if state.num_periods > 40:
            covered += sum(window) / (2 * PERIOD_S) <= planned_qps
        for arrivals in window:
            state = PARAMETERS.observe(state, arrivals, PERIOD_S)
    assert 0.6 <= covered / windows <= 0.8


def test_bursty_stream_gets_more_headroom():
    rng = random.Random(5)
    calm, bursty = DemandState(), DemandState()
    for _ in range(200):
        calm = PARAMETERS.observe(calm, poisson(rng, 40.0), PERIOD_S)
        # Groups of 8 queries: the index of dispersion is 8.
        bursty = PARAMETERS.observe(bursty, 8 * poisson(rng, 5.0), PERIOD_S)
    assert bursty.dispersion > 3.0 * calm.dispersion
    assert PARAMETERS.demand_qps(bursty) > PARAMETERS.demand_qps(calm)


def test_step_up_is_followed_within_two_periods():
    state = settled(4.0)
    for _ in range(2):
        state = PARAMETERS.observe(state, round(20.0 * PERIOD_S), PERIOD_S)
    assert state.mean_qps > 0.9 * 20.0
    assert PARAMETERS.demand_qps(state) > 0.99 * 20.0


def test_step_down_is_followed_within_a_few_periods():
    state = settled(20.0)
    for _ in range(6):
        state = PARAMETERS.observe(state, round(4.0 * PERIOD_S), PERIOD_S)
    assert 4.0 <= state.mean_qps < 8.0
    assert PARAMETERS.demand_qps(state) < 11.0


def test_a_step_is_not_mistaken_for_burstiness():
    state = settled(4.0)
    for _ in range(5):
        state = PARAMETERS.observe(state, round(40.0 * PERIOD_S), PERIOD_S)
    assert state.dispersion < 2.0


def test_silence_needs_nothing_and_one_query_after_it_is_no_storm():
    state = settled(0.0)
    assert PARAMETERS.demand_qps(state) == 0.0
    state = PARAMETERS.observe(state, 1, PERIOD_S)
    assert 0.0 < PARAMETERS.demand_qps(state) < 1.0


def test_empty_interval_changes_nothing():
    state = settled(4.0)
    assert PARAMETERS.observe(state, 10, 0.0) is state


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 10_000), st.floats(0.01, 60.0)),
        min_size=1,
        max_size=30,
    )
)
def test_estimate_is_always_finite_and_between_the_samples(samples):
    state = DemandState()
    for arrivals, interval_s in samples:
        state = PARAMETERS.observe(state, arrivals, interval_s)
    rates = [arrivals / interval_s for arrivals, interval_s in samples]
    assert min(rates) - 1e-9 <= state.mean_qps <= max(rates) + 1e-9
    assert math.isfinite(state.dispersion) and state.dispersion >= 1.0
    assert PARAMETERS.demand_qps(state) >= state.mean_qps


@pytest.mark.parametrize(
    "setting",
    [
        {"half_life_s": 0.0},
        {"dispersion_half_life_s": -1.0},
        {"horizon_s": 0.0},
        {"rise_gain": 0.0},
        {"fall_gain": 1.5},
        {"quantile_z": -0.1},
    ],
)
def test_bad_parameters_are_refused(setting):
    with pytest.raises(ConfigError, match=f"demand {next(iter(setting))}"):
        DemandParameters(**setting)
