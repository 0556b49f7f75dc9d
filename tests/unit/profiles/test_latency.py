from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffserve.errors import ProfileError
from diffserve.profiles.latency import LatencyProfile

PROFILE = LatencyProfile({1: 1.0, 2: 1.5, 4: 3.0})


def test_measured_sizes_are_returned_as_measured():
    assert PROFILE.batch_sizes == (1, 2, 4)
    assert PROFILE.batch_size_max == 4
    assert PROFILE.execution_s(2) == 1.5
    assert PROFILE.throughput_qps(4) == pytest.approx(4 / 3)


def test_sizes_between_are_interpolated():
    assert PROFILE.execution_s(3) == pytest.approx(2.25)


@pytest.mark.parametrize("batch_size", [0, -1, 5])
def test_sizes_outside_are_refused(batch_size):
    with pytest.raises(ProfileError, match=r"outside 1\.\.4"):
        PROFILE.execution_s(batch_size)


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({}, "batch size 1 is missing"),
        ({2: 1.0}, "batch size 1 is missing"),
        ({0: 1.0, 1: 1.0}, "batch size 1 is missing"),
        ({1: 0.0}, "batch 1 takes 0.0 s"),
        ({1: float("inf")}, "batch 1 takes inf s"),
        ({1: float("nan")}, "batch 1 takes nan s"),
        ({1: 2.0, 2: 1.0}, "batch 2 is faster"),
    ],
)
def test_bad_tables_are_refused(table, problem):
    with pytest.raises(ProfileError, match=problem):
        LatencyProfile(table)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=6))
def test_execution_never_decreases_with_batch_size(steps):
    seconds, table = 0.1, {}
    for index, step in enumerate(steps):
        seconds += step
        table[2**index] = seconds
    profile = LatencyProfile(table)
    times = [profile.execution_s(size) for size in range(1, profile.batch_size_max + 1)]
    assert all(a <= b + 1e-9 for a, b in itertools.pairwise(times))
