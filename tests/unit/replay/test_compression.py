"""The compressed twin of a catalog and of the settings."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from diffserve.catalog import SHIPPED, load_catalog
from diffserve.replay.compression import (
    IMAGE_SIDE,
    compressed_settings,
    to_toml,
    write_catalog,
)
from diffserve.sim.settings import LiveSettings

CATALOGS = ["paper-sdturbo", "paper-sdxl", "mock"]


@pytest.mark.parametrize("name", CATALOGS)
def test_seconds_shrink_and_nothing_else(name: str, tmp_path: Path) -> None:
    write_catalog(name, 4.0, tmp_path / "twin.toml")
    before, after = load_catalog(name), load_catalog(str(tmp_path / "twin.toml"))
    for cascade_id, cascade in before.cascades.items():
        assert after.cascades[cascade_id].slo_s == pytest.approx(cascade.slo_s / 4.0)
    for variant_id, profile in before.latency.items():
        twin = after.latency[variant_id]
        assert twin.batch_sizes == profile.batch_sizes
        for size in profile.batch_sizes:
            assert twin.execution_s(size) == pytest.approx(profile.execution_s(size) / 4.0)
        assert after.variants[variant_id].width == IMAGE_SIDE
        steps = before.variants[variant_id].num_inference_steps
        assert after.variants[variant_id].num_inference_steps == steps
    assert after.deferral == before.deferral
    assert after.quality == before.quality
    assert after.default_cascade == before.default_cascade


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_toml_that_is_written_reads_the_same(path: Path) -> None:
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    assert tomllib.loads(to_toml(document)) == document


def test_toml_keeps_lists_of_tables_and_odd_names() -> None:
    document = {
        "a": 1,
        "t": {"x.y": {"text": 'say "so"\n'}, "rows": [{"n": [1.5, 2.0]}, {"n": [], "m": {"k": 1}}]},
    }
    assert tomllib.loads(to_toml(document)) == document


def test_settings_are_divided_and_valid() -> None:
    usual = LiveSettings.load()
    for factor in (1.0, 2.0, 8.0):
        settings = LiveSettings.load(compressed_settings(factor))
        controller, loadbalancer = settings.controller, settings.loadbalancer
        assert controller.planning_period_s == usual.controller.planning_period_s / factor
        assert loadbalancer.telemetry_period_s == usual.loadbalancer.telemetry_period_s / factor
        assert loadbalancer.answer_margin_s == usual.loadbalancer.answer_margin_s / factor
        assert controller.lease_s == usual.controller.lease_s
        assert loadbalancer.queue_length_max == usual.loadbalancer.queue_length_max
