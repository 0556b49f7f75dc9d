from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffserve.planning.staffing import Grade, grade_for_workers, grade_of, workers_needed

loads = st.floats(0.0, 2e4)


def test_small_pools_have_the_fixed_utilisation():
    assert grade_of(10.0, 0.85, 1.5) == Grade(1 / 0.85, 0.0)
    assert workers_needed(10.0, 0.85, 1.5) == pytest.approx(10 / 0.85)


def test_headroom_shrinks_with_scale():
    shares = [workers_needed(r, 0.85, 1.5) / r - 1 for r in (16.0, 100.0, 1000.0, 10_000.0)]
    assert shares == sorted(shares, reverse=True)
    assert shares == pytest.approx([0.176, 0.15, 0.047, 0.015], abs=0.001)


@given(load=loads, touch=loads)
def test_no_grade_is_below_what_is_needed(load, touch):
    assert grade_of(touch, 0.85, 1.5).workers(load) >= workers_needed(load, 0.85, 1.5) - 1e-6


@given(load=st.floats(1.0, 2e4))
def test_the_grade_of_a_load_wastes_little_there(load):
    needed = workers_needed(load, 0.85, 1.5)
    assert grade_of(load, 0.85, 1.5).workers(load) <= needed * 1.02


@given(num_workers=st.integers(1, 20_000))
def test_given_workers_carry_exactly_what_they_may(num_workers):
    grade = grade_for_workers(num_workers, 0.85, 1.5)
    load = num_workers / grade.slope
    assert workers_needed(load, 0.85, 1.5) == pytest.approx(num_workers)
    assert grade.intercept == 0.0


def test_corners():
    assert grade_of(0.0, 0.9, 1.5) == grade_for_workers(0, 0.9, 1.5) == Grade(1 / 0.9, 0.0)
    assert grade_of(50.0, 0.9, 0.0) == Grade(1.0, 0.0)
    assert Grade(1.0, 3.0).workers(0.0) == 0.0
    assert grade_of(50.0, 1.0, 1.5) == Grade(1.0, 0.0)
    assert math.isclose(workers_needed(50.0, 0.9, 0.0), 50.0)
