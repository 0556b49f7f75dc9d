"""Predicted waits and refusals."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from diffserve.core import RefusalCause
from diffserve.policy.admission import VACANT_S_MAX, PoolLoad, admit, predicted_wait_s
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
    busy = load(busy_work_s=0.3, num_ahead=8)
    options = {"queue_length": 8, "queue_length_max": 100, "margin_s": 0.05}
    assert admit(busy, LIGHT, budget_s=1.12, **options) is None
    refusal = admit(busy, LIGHT, budget_s=0.5, **options)
    assert refusal is not None
    assert refusal.reason == "an answer would take 1.12 s and the deadline is in 0.50 s"
    full_batch_s = 0.25  # others fill its batch
    assert refusal.predicted_wait_s == pytest.approx(1.02 * 0.8 + full_batch_s + 0.05)
    assert refusal.retry_after_s == pytest.approx(0.616)


def test_idle_worker_takes_even_a_hopeless_query_but_not_of_a_hurried_client() -> None:
    idle, options = load(num_idle=1), {"queue_length": 0, "queue_length_max": 100, "margin_s": 0.05}
    assert admit(idle, LIGHT, budget_s=0.01, **options) is None
    assert admit(idle, LIGHT, budget_s=0.16, is_hurried=True, **options) is None
    refusal = admit(idle, LIGHT, budget_s=0.01, is_hurried=True, **options)
    assert refusal is not None
    assert refusal.reason == "an answer would take 0.15 s and the deadline is in 0.01 s"


def test_a_variant_without_workers_is_waited_for_but_not_for_long() -> None:
    options = {"queue_length": 0, "queue_length_max": 100, "margin_s": 0.05, "budget_s": 10.0}
    nobody = load(num_workers=0)
    assert admit(nobody, LIGHT, vacant_s=VACANT_S_MAX - 0.1, **options) is None
    refusal = admit(nobody, LIGHT, vacant_s=VACANT_S_MAX, **options)
    assert refusal is not None
    assert (refusal.cause, refusal.retry_after_s) == (RefusalCause.NO_WORKER, 1.0)


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
    options = {"queue_length": 2, "queue_length_max": 100, "margin_s": 0.0}
    busy = load(busy_work_s=0.25)
    placed = list(enumerate(behind_s, start=1))
    refusal = admit(busy, LIGHT, budget_s=0.8, behind_s=placed, **options)
    assert (refusal is None) == is_admitted
    if refusal is not None:
        assert refusal.predicted_wait_s == pytest.approx(1.02 * 0.25 + LIGHT.execution_s(3))
        assert "cost" in refusal.reason


def test_of_many_behind_it_some_speak_for_all() -> None:
    options = {"queue_length": 40, "queue_length_max": 100, "margin_s": 0.0, "budget_s": 9.0}
    busy = load(busy_work_s=0.25)
    assert admit(busy, LIGHT, behind_s=[(1, 9.0), (40, 9.0)], **options) is None
    # The fortieth is done after ten more batches of four, and with one before it after eleven.
    assert admit(busy, LIGHT, behind_s=[(1, 9.0), (40, 3.0)], **options) is not None


def test_an_idle_worker_is_for_the_first_that_come_and_not_for_all_that_come_at_once() -> None:
    late = {"queue_length_max": 100, "margin_s": 0.05, "budget_s": 0.12}
    idle = load(num_idle=1)
    assert admit(idle, LIGHT, queue_length=0, **late) is None
    assert admit(replace(idle, num_ahead=1), LIGHT, queue_length=1, **late) is not None


def test_full_queue_refuses_even_without_workers() -> None:
    options = {"queue_length": 3, "queue_length_max": 3, "margin_s": 0.0}
    refusal = admit(load(num_workers=0), LIGHT, budget_s=5.0, **options)
    assert refusal is not None
    assert math.isfinite(refusal.predicted_wait_s)
