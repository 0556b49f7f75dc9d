"""Calls in several processes: all results come, and a failure is the caller's."""

from __future__ import annotations

import math

import pytest

from diffserve.side_by_side import each


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_result_comes_with_its_key(jobs: int) -> None:
    arguments = {"one": 1.0, "four": 4.0, "nine": 9.0}
    assert dict(each(math.sqrt, arguments, jobs)) == {"one": 1.0, "four": 2.0, "nine": 3.0}


def test_a_failure_in_another_process_is_raised_here() -> None:
    with pytest.raises(ValueError, match=r"math domain|nonnegative"):
        list(each(math.sqrt, {0: -1.0, 1: -2.0}, 2))
