"""Predicted waits and refusals."""

from __future__ import annotations

import math

import pytest

from diffserve.policy.admission import PoolLoad, admit, predicted_wait_s
from tests.unit.policy.harness import LIGHT


def load(**fields: float) -> PoolLoad:
    values = {"num_workers": 1, "num_idle": 0, "busy_work_s": 0.0, "num_ahead": 0}
    return PoolLoad(**{**values, "batch_size_max": 4, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("situation", "expected_s"),
    [
        (load(num_idle=1), 0.0),
        (load(busy_work_s=0.2), 0.2),
        (load(busy_work_s=0.2, num_ahead=8), 0.2 + 2 * 0.25),
        (load(num_workers=2, busy_work_s=0.2, num_ahead=8), (0.2 + 2 * 0.25) / 2),
        (load(num_workers=2, num_idle=1, num_ahead=3), 0.0),
        (load(num_workers=0), math.inf),
    ],
)
def test_wait_is_work_ahead_over_workers(situation: PoolLoad, expected_s: float) -> None:
    assert predicted_wait_s(situation, LIGHT) == pytest.approx(expected_s)


def test_full_batches_ahead_cannot_use_the_same_idle_worker() -> None:
    assert predicted_wait_s(load(num_idle=1, num_ahead=4), LIGHT) == pytest.approx(0.25)


def test_refusal_carries_prediction_and_retry_hint() -> None:
    busy = load(busy_work_s=0.25, num_ahead=8)
    options = {"queue_length": 8, "queue_length_max": 100}
    assert admit(busy, LIGHT, budget_s=1.0, **options) is None
    refusal = admit(busy, LIGHT, budget_s=0.5, **options)
    assert refusal is not None
    assert refusal.predicted_wait_s == pytest.approx(0.75 + 0.1)
    assert refusal.retry_after_s == pytest.approx(0.35)


def test_idle_worker_takes_even_a_hopeless_query() -> None:
    options = {"queue_length": 0, "queue_length_max": 100}
    assert admit(load(num_idle=1), LIGHT, budget_s=0.01, **options) is None


@pytest.mark.parametrize(
    ("behind_s", "is_admitted"),
    [
        ((), True),
        ((0.8, 0.9), True),  # both still fit into the batch
        ((0.38, 0.9), False),  # alone it is done at 0.35 s, with one before it at 0.4
        ((0.9, 0.42), False),  # second it is done at 0.4 s, third at 0.45
        ((0.1, 0.2), True),  # late anyway
    ],
)
def test_none_that_waits_is_made_late(behind_s: tuple[float, ...], is_admitted: bool) -> None:
    options = {"queue_length": 2, "queue_length_max": 100}
    busy = load(busy_work_s=0.25)
    refusal = admit(busy, LIGHT, budget_s=0.8, behind_s=behind_s, **options)
    assert (refusal is None) == is_admitted
    if refusal is not None:
        assert refusal.predicted_wait_s == pytest.approx(0.25 + LIGHT.execution_s(3))
        assert "cost" in refusal.reason


def test_full_queue_refuses_even_without_workers() -> None:
    refusal = admit(load(num_workers=0), LIGHT, budget_s=5.0, queue_length=3, queue_length_max=3)
    assert refusal is not None
    assert math.isfinite(refusal.predicted_wait_s)
