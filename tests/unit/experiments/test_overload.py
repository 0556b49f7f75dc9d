"""How long a crowd is felt, on windows made by hand."""

from __future__ import annotations

import math
from typing import Any

from diffserve.experiments.overload import CROWD_S, felt_s


def windows(
    late: dict[float, int] | None = None, shares: dict[float, float | None] | None = None
) -> dict[str, Any]:
    """Return windows of a run where all is well but for what is given by their starts."""
    starts = [5.0 * index for index in range(80)]
    return {
        "start_s": starts,
        "violations": [(late or {}).get(start, 0) for start in starts],
        "heavy_share": [(shares or {}).get(start, 0.6) for start in starts],
    }


def test_nothing_felt_is_the_first_window() -> None:
    assert felt_s(windows()) == 5.0


def test_violations_and_quality_must_both_be_back() -> None:
    end = CROWD_S[1]
    assert felt_s(windows({end: 3})) == 10.0
    assert felt_s(windows(shares={end: 0.3, end + 5.0: 0.54})) == 15.0
    assert felt_s(windows(shares={end: 0.56})) == 5.0
    assert felt_s(windows({end: 1}, {end + 10.0: 0.2})) == 20.0


def test_one_good_window_is_not_enough() -> None:
    end = CROWD_S[1]
    assert felt_s(windows({end + 5.0: 1})) == 15.0


def test_windows_without_answers_do_not_count_against_it() -> None:
    assert felt_s(windows(shares={CROWD_S[1]: None})) == 5.0


def test_what_is_never_over_is_no_number() -> None:
    late = {5.0 * index: 1 for index in range(80)}
    assert math.isnan(felt_s(windows(late)))


def test_the_first_minute_does_not_say_what_is_usual() -> None:
    slow_start = {5.0 * index: 0.0 for index in range(12)}
    assert felt_s(windows(shares={**slow_start, CROWD_S[1]: 0.5})) == 10.0
