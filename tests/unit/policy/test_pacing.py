from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffserve.policy.pacing import DEBT_MAX, SHIFT_MAX, Pacer


@given(fraction=st.floats(0.2, 0.8), seed=st.integers(0, 99))
def test_share_stays_at_its_target_over_a_handful_of_queries(fraction: float, seed: int) -> None:
    dice, pacer, deferred = random.Random(seed), Pacer(), []
    for _ in range(400):
        is_deferred = dice.random() < pacer.threshold(fraction)
        pacer.record(fraction, is_deferred=is_deferred)
        deferred.append(is_deferred)
    for start in range(0, 400, 40):
        # A plain threshold would stray by 0.08 (one standard deviation) at a share of a half.
        assert sum(deferred[start : start + 40]) / 40 == pytest.approx(fraction, abs=0.15)
    assert sum(deferred) / 400 == pytest.approx(fraction, abs=2 * DEBT_MAX / 400)


def test_threshold_is_the_share_without_debt_and_stays_in_range() -> None:
    assert Pacer().threshold(0.3) == 0.3
    assert Pacer(debt=99.0).threshold(0.3) == pytest.approx(0.3 + SHIFT_MAX)
    assert Pacer(debt=99.0).threshold(0.9) == 1.0
    assert Pacer(debt=-99.0).threshold(0.1) == 0.0
    assert Pacer(debt=99.0).threshold(0.0) == 0.0


def test_debt_is_bounded() -> None:
    pacer = Pacer()
    for _ in range(100):
        pacer.record(0.9, is_deferred=False)
    assert pacer.debt == DEBT_MAX
    for _ in range(100):
        pacer.record(0.1, is_deferred=True)
    assert pacer.debt == -DEBT_MAX
