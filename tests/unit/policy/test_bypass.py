"""Who skips the light variant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from diffserve.core import Preference
from diffserve.policy.bypass import bypass_reason
from tests.unit.policy.harness import make_query

HARD = replace(make_query("a"), difficulty=0.95)


def test_the_hardest_skip_the_light_variant() -> None:
    assert "95%" in bypass_reason(HARD, 0.1, 1.0, 4.0)
    assert not bypass_reason(replace(HARD, difficulty=0.89), 0.1, 1.0, 4.0)


@pytest.mark.parametrize(
    "query",
    [
        replace(HARD, difficulty=None),
        replace(HARD, preference=Preference.LIGHT),
        replace(HARD, preference=Preference.HEAVY),  # gets a preview, and something to fall back on
    ],
)
def test_without_a_rank_or_with_a_wish_nobody_does(query: object) -> None:
    assert not bypass_reason(query, 1.0, 1.0, 4.0)  # type: ignore[arg-type]


def test_nobody_does_where_the_heavy_variant_cannot_make_it() -> None:
    assert not bypass_reason(HARD, 0.5, 4.1, 4.0)
    assert not bypass_reason(HARD, 0.5, float("inf"), 4.0)
    assert not bypass_reason(replace(HARD, difficulty=1.0), 0.0, 1.0, 4.0)
