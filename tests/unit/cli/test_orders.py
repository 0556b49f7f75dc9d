"""What orders to the controller print."""

from __future__ import annotations

from typing import Any

import pytest

from diffserve.cli.orders import pin_line, slo_lines
from diffserve.rpc.v1 import admin_pb2


def slo_answer(slo_s: float, **fields: Any) -> admin_pb2.SetSloResponse:
    times = {"both_variants_s": 0.25, "light_variant_s": 0.05}
    return admin_pb2.SetSloResponse(cascade_ids=["a", "b"], slo_s=slo_s, **{**times, **fields})


@pytest.mark.parametrize(
    ("slo_s", "note"),
    [
        (3.0, ""),
        (
            0.2,
            "note: both variants together take 250 ms for one query, so that nothing can be "
            "deferred",
        ),
        (
            0.05,
            "note: the light variant alone takes 50 ms for one query, so that none can be in time "
            "and all will be refused",
        ),
    ],
)
def test_an_slo_that_cannot_be_kept_is_told(slo_s: float, note: str) -> None:
    first, *notes = slo_lines(slo_answer(slo_s), is_reset=False)
    assert first.startswith("a, b: answers within ")
    assert first.endswith(", for new queries")
    assert notes == ([note] if note else [])


def test_the_catalogs_slo_is_called_so() -> None:
    assert slo_lines(slo_answer(3.0), is_reset=True) == [
        "a, b: answers within 3.0 s, as in the catalog"
    ]


@pytest.mark.parametrize(
    ("fields", "when"),
    [
        ({"planning_paused": True}, "planning is paused, so it takes effect when resumed"),
        ({"redis_gone": True}, "planning waits for Redis, so it takes effect when that answers"),
        (
            {"planning_paused": True, "redis_gone": True},
            "planning is paused, so it takes effect when resumed",
        ),
    ],
)
def test_an_order_that_no_plan_takes_up_says_so(fields: dict[str, bool], when: str) -> None:
    (line,) = slo_lines(slo_answer(3.0, **fields), is_reset=False)
    assert line.endswith(f"; {when}")
    pinned = admin_pb2.PinThresholdResponse(cascade_ids=["a"], share=0.5, **fields)
    assert pin_line(pinned) == f"a: 50 % of light images are deferred, whatever the load; {when}"
