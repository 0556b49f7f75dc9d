from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffserve.planning.sharing import split_fleet


@pytest.mark.parametrize(
    ("num_workers", "work", "expected"),
    [
        (7, {"a": 1.0}, {"a": 7}),
        (10, {"a": 3.0, "b": 1.0}, {"a": 7, "b": 3}),
        (5, {"a": 0.0, "b": 0.0}, {"a": 3, "b": 2}),
        (4, {"a": 5.0, "b": 0.0}, {"a": 3, "b": 1}),
        (1, {"a": 1.0, "b": 2.0}, {"a": 0, "b": 1}),
        (0, {"a": 1.0, "b": 2.0}, {"a": 0, "b": 0}),
        (3, {}, {}),
    ],
)
def test_known_splits(num_workers, work, expected):
    assert split_fleet(num_workers, work) == expected


@settings(max_examples=60, deadline=None)
@given(
    num_workers=st.integers(0, 50),
    loads=st.lists(st.floats(0.0, 1e6), min_size=1, max_size=6),
)
def test_every_worker_is_given_away_and_nobody_is_left_out(num_workers, loads):
    work = {f"cascade-{i}": load for i, load in enumerate(loads)}
    shares = split_fleet(num_workers, work)
    assert sum(shares.values()) == num_workers
    if num_workers >= len(loads):
        assert min(shares.values()) >= 1
    # More work never gets fewer workers.
    ordered = sorted(work, key=lambda name: work[name])
    for lighter, heavier in itertools.pairwise(ordered):
        if work[lighter] < work[heavier]:
            assert shares[lighter] <= shares[heavier]
