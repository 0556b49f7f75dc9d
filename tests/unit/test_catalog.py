"""Catalogs: the shipped ones are sound, and a mistake is reported with file and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffserve.catalog import MOCK_PIPELINE, SHIPPED, load_catalog, shipped_catalogs
from diffserve.errors import ConfigError

MOCK = (SHIPPED / "mock.toml").read_text()


def edited(directory: Path, old: str, new: str) -> str:
    """Return the path of the mock catalog with one text replaced."""
    assert old in MOCK
    path = directory / "mine.toml"
    path.write_text(MOCK.replace(old, new))
    return str(path)


@pytest.mark.parametrize("name", shipped_catalogs())
def test_shipped_catalogs_are_complete(name: str) -> None:
    catalog = load_catalog(name)
    assert catalog.name == name
    assert catalog.default_cascade in catalog.cascades
    for cascade_id, cascade in catalog.cascades.items():
        assert {cascade.light, cascade.heavy} <= set(catalog.variants)
        assert cascade.discriminator in catalog.discriminators
        assert cascade_id in catalog.deferral
        assert cascade_id in catalog.quality
    for variant_id, variant in catalog.variants.items():
        assert catalog.latency[variant_id].execution_s(1) > 0.0
        if variant.pipeline != MOCK_PIPELINE:
            assert Path(variant.source).is_dir(), variant.source


def test_path_loads_the_same_as_the_name(tmp_path: Path) -> None:
    path = tmp_path / "mock.toml"
    path.write_text(MOCK)
    assert load_catalog(str(path)).variants == load_catalog("mock").variants


def test_relative_source_is_relative_to_the_file_and_hub_ids_stay(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    text = 'pipeline = "mock"\nnum_inference_steps = 1\n'
    local = load_catalog(edited(tmp_path, text, f'source = "weights"\n{text}'))
    assert local.variants["mock-light"].source == str(tmp_path / "weights")
    hub = load_catalog(edited(tmp_path, text, f'source = "owner/name"\n{text}'))
    assert hub.variants["mock-light"].source == "owner/name"


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("num_inference_steps = 20", "num_inference_steps = 0", "variant.mock-heavy.num_inference"),
        ("width = 64", "width = 65", "width"),
        ("guidance_scale = 2.0", "guidance_scale = -1", "guidance_scale"),
        ("slo_s = 2.0", "slo_s = 0", "cascade.mock.slo_s"),
        ("slo_s = 2.0", "slo_s = 2.0\nnosuch = 1", "cascade.mock.nosuch"),
        ('heavy = "mock-heavy"', 'heavy = "absent"', "cascade.mock.heavy"),
        ('discriminator = "mock"\n', 'discriminator = "absent"\n', "cascade.mock.discriminator"),
        ('default_cascade = "mock"', 'default_cascade = "absent"', "default_cascade"),
        ("{ 1 = 0.20, 2 = 0.30,", "{ 2 = 0.30,", "variant.mock-heavy.latency_s"),
        ('base = "mock-light"\n', "", "variant.mock-light.base"),
        ("[cascade.mock]", "[cascade.mock", "mine.toml"),
    ],
)
def test_mistakes_name_file_and_field(tmp_path: Path, old: str, new: str, names: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_catalog(edited(tmp_path, old, new))
    assert names in str(caught.value)
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_catalog_names_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="mock"):
        load_catalog("nosuch")
