from __future__ import annotations

import math

import pytest

from diffserve.policy.waiting import deferral_scv, expected_wait_s, little_wait_s


def test_little_wait():
    assert little_wait_s(12, 4.0) == 3.0
    assert little_wait_s(0, 0.0) == 0.0
    assert little_wait_s(3, 0.0) == math.inf


def pool_wait_s(utilisation: float, num_workers: int, **options: float) -> float:
    """Wait before workers that take 1 s per query."""
    return expected_wait_s(
        arrival_qps=utilisation * num_workers,
        num_workers=num_workers,
        batch_size=1,
        execution_s=1.0,
        **options,
    )


@pytest.mark.parametrize("utilisation", [0.3, 0.6, 0.9])
def test_single_worker_matches_the_exact_formula(utilisation):
    """M/D/1 (Pollaczek-Khinchine) and M/M/1 are exact cases of the approximation."""
    exact_md1_s = utilisation / (2 * (1 - utilisation))
    assert pool_wait_s(utilisation, 1) == pytest.approx(exact_md1_s)
    assert pool_wait_s(utilisation, 1, service_scv=1.0) == pytest.approx(2 * exact_md1_s)


def test_close_to_erlang_c_for_many_workers():
    """M/M/10 at 80 %: Erlang C gives 0.2046 s."""
    assert pool_wait_s(0.8, 10, service_scv=1.0) == pytest.approx(0.2046, rel=0.08)


def test_wait_grows_with_load_and_shrinks_with_scale():
    assert pool_wait_s(0.5, 4) < pool_wait_s(0.8, 4) < pool_wait_s(0.95, 4)
    assert pool_wait_s(0.9, 32) < pool_wait_s(0.9, 8) < pool_wait_s(0.9, 2)


def test_batches_count_as_shared_time():
    batched_s = expected_wait_s(arrival_qps=1.8, num_workers=1, batch_size=4, execution_s=2.0)
    single_s = expected_wait_s(arrival_qps=1.8, num_workers=1, batch_size=1, execution_s=0.5)
    assert batched_s == pytest.approx(single_s)


def test_extremes():
    assert pool_wait_s(0.0, 1) == 0.0
    assert pool_wait_s(1.0, 3) == math.inf
    no_pool_s = expected_wait_s(arrival_qps=1.0, num_workers=0, batch_size=1, execution_s=1.0)
    assert no_pool_s == math.inf


def test_deferrals_of_large_light_batches_are_bursty():
    assert deferral_scv(0.5, 1) == 1.0
    assert deferral_scv(0.5, 9) == 5.0
    assert deferral_scv(0.0, 9) == 1.0
