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
    assert catalog.default_cascade in (*catalog.cascades, *catalog.classes)
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
        ("slo_s = 2.0", "slo_s = nan", "cascade.mock.slo_s"),
        ("slo_s = 2.0", "slo_s = inf", "cascade.mock.slo_s"),
        ("slo_s = 2.0", "slo_s = 86401.0", "cascade.mock.slo_s"),
        ("{ 1 = 0.20,", "{ 1 = inf,", "variant.mock-heavy.latency_s.1"),
        ("slo_s = 2.0", "slo_s = 2.0\nnosuch = 1", "cascade.mock.nosuch"),
        ("slo_s = 2.0", "slo_s = 2.0\ndeferral_max = 1.01", "cascade.mock.deferral_max"),
        ("slo_s = 2.0", "slo_s = 2.0\ndeferral_max = -0.1", "cascade.mock.deferral_max"),
        ("slo_s = 2.0", "slo_s = 2.0\ndeferral_max = nan", "cascade.mock.deferral_max"),
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


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(ConfigError, match=r"mine\.toml:1: is no UTF-8"):
        load_catalog(str(path))
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match=r"mine\.toml: Is a directory"):
        load_catalog(str(path))


def test_a_cascade_may_be_capped_and_is_not_by_default(tmp_path: Path) -> None:
    capped = load_catalog(edited(tmp_path, "slo_s = 2.0", "slo_s = 2.0\ndeferral_max = 0.24"))
    assert capped.cascades["mock"].deferral_max == 0.24
    assert load_catalog("mock").cascades["mock"].deferral_max == 1.0


def test_unknown_catalog_names_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="mock"):
        load_catalog("nosuch")


SECOND = """
[cascade.other]
light = "mock-light"
heavy = "mock-heavy"
discriminator = "mock"
slo_s = 5.0
deferral = { thresholds = [0.0, 1.0], fractions = [0.0, 1.0] }
quality = { metric = "share of right answers", fractions = [0.0, 1.0], qualities = [0.5, 0.9] }
bypass = [
    { fraction = 0.2, fractions = [0.0, 1.0], qualities = [0.6, 0.9] },
    { fraction = 0.1, fractions = [0.0, 1.0], qualities = [0.55, 0.9] },
]
"""


def grouped(directory: Path, classes: str, slo_s: float | None = None) -> str:
    slo_s = load_catalog("mock").cascades["mock"].slo_s if slo_s is None else slo_s
    path = directory / "grouped.toml"
    path.write_text(MOCK + SECOND.replace("slo_s = 5.0", f"slo_s = {slo_s}") + classes)
    return str(path)


def test_every_cascade_is_in_one_class(tmp_path: Path) -> None:
    catalog = load_catalog(grouped(tmp_path, ""))
    assert {c.class_id: c.cascade_ids for c in catalog.classes.values()} == {
        "mock": ("mock",),
        "other": ("other",),
    }
    both = '[class.any]\ncascades = ["mock", "other"]\nweight = 2.0\n'
    catalog = load_catalog(grouped(tmp_path, both))
    assert list(catalog.classes) == ["any"]
    assert catalog.classes["any"].cascade_ids == ("mock", "other")
    assert catalog.classes["any"].weight == 2.0
    assert [point.fraction for point in catalog.bypass["other"]] == [0.1, 0.2]


@pytest.mark.parametrize(
    ("classes", "slo_s", "message"),
    [
        ('[class.mock]\ncascades = ["other"]\n', None, "class.mock: a cascade has this name"),
        ('[class.any]\ncascades = ["mock", "none"]\n', None, "no such entry 'none'"),
        ('[class.any]\ncascades = ["mock", "other"]\n', 9.5, "one slo_s"),
        (
            '[class.a]\ncascades = ["mock"]\n[class.b]\ncascades = ["mock"]\n',
            None,
            "class.b.cascades: 'mock' is in class 'a' already",
        ),
    ],
)
def test_wrong_classes_are_named(
    tmp_path: Path, classes: str, slo_s: float | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_catalog(grouped(tmp_path, classes, slo_s))
