"""Figures from replies that are known."""

from __future__ import annotations

import math

import pytest

from diffserve.bench.replies import Reply, Status, Told
from diffserve.bench.summary import bins_of, quantile, summary
from diffserve.core import Outcome


def reply(
    arrival_s: float = 0.0,
    latency_s: float = 0.1,
    status: Status = Status.ANSWERED,
    outcome: Outcome | None = None,
    **fields: object,
) -> Reply:
    told = Told(outcome=outcome, variant=outcome.value if outcome else "")
    values = {"lag_s": 0.0, "told": told, **fields}
    return Reply(arrival_s=arrival_s, latency_s=latency_s, status=status, **values)  # type: ignore[arg-type]


def test_late_answers_are_answers_but_not_goodput() -> None:
    replies = [
        reply(latency_s=0.5),
        reply(latency_s=1.5),
        reply(status=Status.REFUSED, error="busy"),
        reply(status=Status.EXPIRED),
    ]
    figures = summary(replies, slo_s=1.0, duration_s=2.0)
    assert (figures["answered"], figures["late"], figures["refused"]) == (2, 1, 1)
    assert figures["slo_attainment"] == 0.25
    assert figures["goodput_qps"] == 0.5
    assert figures["throughput_qps"] == 1.0
    assert figures["errors"] == {"busy": 1}


def test_shares_are_of_the_answers_that_tell() -> None:
    outcomes = [Outcome.HEAVY, Outcome.LIGHT, Outcome.LIGHT, Outcome.LIGHT_FALLBACK]
    figures = summary([*(reply(outcome=o) for o in outcomes), reply()], 1.0, 1.0)
    assert figures["heavy_share"] == 0.25
    assert figures["light_fallback_share"] == 0.25
    assert figures["variants"] == {"heavy": 1, "light": 2, "light_fallback": 1}


def test_what_does_not_exist_is_none() -> None:
    figures = summary([reply(status=Status.FAILED)], 1.0, 1.0)
    missing = ("latency_s_p50", "latency_s_max", "heavy_share", "first_image_s_p50", "stage_s_mean")
    assert all(figures[name] is None for name in missing)


def test_quantiles_are_values_that_occurred() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [quantile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 50.0, 99.0, 100.0]
    assert math.isnan(quantile([], 0.5))


def test_first_images_are_told_by_the_server() -> None:
    replies = [reply(told=Told(first_image_s=s)) for s in (0.1, 0.2, 0.3)] + [reply()]
    assert summary(replies, 1.0, 1.0)["first_image_s_p50"] == 0.2


@pytest.mark.parametrize("duration_s", [1.0, 10.0, 3600.0])
def test_every_query_is_in_one_bin(duration_s: float) -> None:
    times = [0.0, duration_s / 2, duration_s * 0.999]
    replies = [reply(time_s, status=Status.REFUSED) for time_s in times] + [reply(0.5)]
    bins = bins_of(replies, 1.0, duration_s)
    assert len(bins) <= 60
    assert sum(b.refused for b in bins) == 3
    assert sum(b.good for b in bins) == 1
    assert bins[-1].start_s + bins[-1].width_s >= duration_s
