"""What the paper reports in kind, and what this project promises, on a short hump of load."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from diffserve.sim.run import simulate
from tests.sim.runs import simulation


@cache
def result(policy: str, cv: float | None = None) -> dict[str, Any]:
    return simulate(
        simulation(policy, peak_qps=32.0, duration_s=150.0, num_workers=16, cv=cv, seed=3)
    )


def test_published_system_violates_a_few_per_cent() -> None:
    assert 0.005 < result("diffserve-paper")["slo_violation_ratio"] < 0.12


def test_clipper_marks_the_extremes() -> None:
    light, heavy = result("clipper-light"), result("clipper-heavy")
    published = result("diffserve-paper")
    assert light["slo_violation_ratio"] == 0.0
    assert light["heavy_share"] == 0.0
    assert light["quality_windowed"] > published["quality_windowed"] + 2.0
    assert heavy["heavy_share"] == 1.0
    assert heavy["slo_violation_ratio"] > 3.0 * published["slo_violation_ratio"]


def test_order_of_the_systems_is_the_paper_s() -> None:
    qualities = {
        policy: result(policy)["quality_windowed"]
        for policy in ("diffserve", "diffserve-paper", "proteus", "clipper-light")
    }
    assert sorted(qualities, key=lambda policy: qualities[policy]) == list(qualities)


@pytest.mark.parametrize("cv", [None, 3.0])
def test_ours_misses_nothing_and_comes_near_the_bound(cv: float | None) -> None:
    metrics = result("diffserve", cv)
    assert metrics["slo_violation_ratio"] <= 0.0005
    assert metrics["rejected_ratio"] == 0.0
    assert metrics["quality_windowed"] < result("diffserve-paper", cv)["quality_windowed"] - 0.7
    assert metrics["quality_windowed"] < metrics["bound_quality_windowed"] + 0.2


def test_looking_at_images_is_what_pays() -> None:
    aware, random = result("diffserve"), result("random")
    assert abs(aware["heavy_share"] - random["heavy_share"]) < 0.05
    assert random["quality_windowed"] > aware["quality_windowed"] + 2.0


@pytest.mark.parametrize("cascade", ["paper-sdxs", "paper-sdxl"])
def test_other_cascades_beat_the_published_system(cascade: str) -> None:
    found = {
        policy: simulate(
            simulation(policy, peak_qps=12.0, duration_s=120.0, num_workers=8, cascade=cascade)
        )
        for policy in ("diffserve", "diffserve-paper")
    }
    assert found["diffserve"]["slo_violation_ratio"] <= 0.0005
    assert found["diffserve"]["quality_windowed"] < found["diffserve-paper"]["quality_windowed"]


@pytest.mark.parametrize("num_workers", [1, 2, 3, 16])
@pytest.mark.parametrize("overload", [1.1, 3.0])
def test_overload_is_refused_at_the_door_and_the_rest_is_answered_in_time(
    num_workers: int, overload: float
) -> None:
    capacity_qps = num_workers * 16 / 0.77  # SD-Turbo in batches of 16
    metrics = simulate(
        simulation(
            "diffserve",
            trace="poisson",
            peak_qps=overload * capacity_qps,
            duration_s=40.0,
            num_workers=num_workers,
            seed=1,
        )
    )
    # One worker's queue has nobody to even out what a batch takes longer than planned.
    assert metrics["slo_violation_ratio"] <= (0.01 if num_workers == 1 else 0.0)
    answered_qps = sum(metrics["outcomes"][o] for o in ("light", "heavy", "light_fallback")) / 40.0
    assert answered_qps > 0.95 * capacity_qps


def test_what_waits_when_an_overload_ends_is_answered_in_time() -> None:
    """Workers turn to quality again only when what is due soon can spare them."""
    metrics = simulate(
        simulation(
            trace="poisson", peak_qps=120.0, duration_s=40.0, num_workers=4, slo_s=10.0, seed=1
        )
    )
    assert metrics["outcomes"]["rejected"] > 0
    assert metrics["outcomes"]["expired"] == 0
