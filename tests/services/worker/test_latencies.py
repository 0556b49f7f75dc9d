"""What is measured, and what is expected of the next batch."""

from __future__ import annotations

import dataclasses

import pytest

from diffserve.catalog import load_catalog
from services.worker.batch import BatchSpec, warm_up_batch
from services.worker.latencies import WINDOW, Latencies

CATALOG = load_catalog("mock")
VARIANT = CATALOG.variants["mock-heavy"]


def batch(size: int = 1, **changes: object) -> BatchSpec:
    spec = warm_up_batch(VARIANT)
    return dataclasses.replace(spec, drawings=spec.drawings * size, **changes)  # type: ignore[arg-type]


def test_the_warm_up_counts_until_the_first_real_batch() -> None:
    latencies = Latencies(CATALOG.latency)
    latencies.observe(batch(), 9.0, is_warm_up=True)
    assert [s.execution_s_p50 for s in latencies.samples()] == [9.0]
    assert latencies.expected_s(batch()) == pytest.approx(0.2)
    latencies.observe(batch(), 0.4)
    assert [s.execution_s_p50 for s in latencies.samples()] == [0.4]
    assert latencies.samples()[0].num_executions == 1
    assert latencies.expected_s(batch()) == pytest.approx(0.4)
    # The variant was evicted and came back.
    latencies.observe(batch(), 9.0, is_warm_up=True)
    latencies.observe(batch(), 0.4)
    assert latencies.samples()[0].execution_s_p50 == 0.4


def test_figures_are_quantiles_of_a_bounded_window() -> None:
    latencies = Latencies(CATALOG.latency)
    for number in range(WINDOW + 100):
        latencies.observe(batch(2), 1.0 + number)
    (sample,) = latencies.samples()
    assert (sample.variant_id, sample.batch_size) == ("mock-heavy", 2)
    assert sample.num_executions == WINDOW + 100
    assert sample.execution_s_p50 == 100 + WINDOW // 2
    assert sample.execution_s_p95 == 100 + 61


@pytest.mark.parametrize(
    "changes", [{"width": 128}, {"num_inference_steps": 40}, {"guidance_scale": 7.0}]
)
def test_overridden_batches_say_nothing_of_the_profile(changes: dict[str, object]) -> None:
    latencies = Latencies(CATALOG.latency)
    latencies.observe(batch(**changes), 3.0)
    assert latencies.samples() == []


def test_expectations_grow_with_steps_and_pixels() -> None:
    latencies = Latencies(CATALOG.latency)
    assert latencies.expected_s(batch(num_inference_steps=40)) == pytest.approx(0.4)
    assert latencies.expected_s(batch(width=128, height=128)) == pytest.approx(0.8)
    assert latencies.expected_s(batch(3)) == pytest.approx(0.4)
