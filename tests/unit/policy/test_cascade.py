"""Accept, defer or fall back."""

from __future__ import annotations

import math

import pytest

from diffserve.core import Preference
from diffserve.policy.cascade import LightImage, Verdict, decide

AUTO, LIGHT, HEAVY = Preference.AUTO, Preference.LIGHT, Preference.HEAVY


@pytest.mark.parametrize(
    ("preference", "percentile", "fraction", "heavy_answer_s", "expected"),
    [
        (AUTO, 0.6, 0.5, 1.0, Verdict.ACCEPT),
        (AUTO, 0.5, 0.5, 1.0, Verdict.ACCEPT),
        (AUTO, 0.4, 0.5, 1.0, Verdict.DEFER),
        (AUTO, 0.4, 0.5, 3.0, Verdict.FALL_BACK),
        (AUTO, 0.4, 0.5, math.inf, Verdict.FALL_BACK),
        (AUTO, 0.0, 0.0, 1.0, Verdict.ACCEPT),
        (AUTO, 0.9999, 1.0, 1.0, Verdict.DEFER),
        (AUTO, None, 1.0, 1.0, Verdict.ACCEPT),
        (LIGHT, 0.0, 1.0, 1.0, Verdict.ACCEPT),
        (HEAVY, 1.0, 0.0, 1.0, Verdict.DEFER),
        (HEAVY, None, 0.0, 3.0, Verdict.FALL_BACK),
    ],
)
def test_verdicts(
    preference: Preference,
    percentile: float | None,
    fraction: float,
    heavy_answer_s: float,
    expected: Verdict,
) -> None:
    decision = decide(
        LightImage(
            preference=preference,
            percentile=percentile,
            deferral_fraction=fraction,
            slack_s=2.0,
            heavy_answer_s=heavy_answer_s,
        )
    )
    assert decision.verdict is expected
    assert decision.reason
    assert ("no worker holds" in decision.reason) == math.isinf(heavy_answer_s)
