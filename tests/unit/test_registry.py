"""Registries: the shipped ones are sound, and a mistake is reported with file and field."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffserve.errors import ConfigError
from diffserve.registry import SHIPPED, load_registry, shipped_registries


@pytest.mark.parametrize("name", shipped_registries())
def test_shipped_registries_are_sound(name: str) -> None:
    variants = load_registry(name)
    assert len(variants) >= 2
    for variant_id, variant in variants.items():
        assert variant.variant_id == variant_id
        assert variant.source


def test_the_papers_cascades_are_there() -> None:
    assert {"sd-turbo", "sdxs", "sdxl-lightning"} <= set(shipped_registries())
    lightning = load_registry("sdxl-lightning")["sdxl-lightning"]
    assert lightning.denoiser.startswith("ByteDance/SDXL-Lightning:")
    assert dict(lightning.scheduler_options) == {"timestep_spacing": "trailing"}


def test_operating_points_share_their_base() -> None:
    variants = load_registry("sd-turbo")
    assert variants["sd-v1-5"].base == variants["sd-v1-5-25"].base


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("num_inference_steps = 1", "num_inference_steps = 0", "variant.sd-turbo.num_inference"),
        ('dtype = "float16"', 'dtype = "int8"', "variant.sd-turbo.dtype"),
        ("guidance_scale = 0.0", "guidence_scale = 0.0", "guidence_scale|guidance_scale"),
        ("width = 512", "width = 513", "variant.sd-turbo.width"),
        ("guidance_scale =", "guidence_scale =", "guidence_scale: there is no such field"),
        ("num_inference_steps = 1", 'num_inference_steps = "1"', "num_inference_steps: .* integer"),
        (
            "num_inference_steps = 1",
            "num_inference_steps = true",
            "num_inference_steps: .* integer",
        ),
        ("width = 512", "width = 512\nsize_multiple = 48", "turbo.width: 512 is no multiple"),
        ("height = 512", "height = 512\nsize_max = 256", "turbo.width: 512 is more than its size_"),
        ("width = 512", 'width = 512\nconfig = "x"', "turbo.config: only a .safetensors file"),
        ('base = "sd-turbo"', 'base = ""', "variant.sd-turbo.base"),
        ('pipeline = "StableDiffusionPipeline"', 'pipeline = ""', "variant.sd-turbo.pipeline"),
        ('source = "stabilityai/sd-turbo"', "", "variant.sd-turbo.source: .* is missing"),
        ("[variant.sd-turbo]", "[variant]\nsd-turbo = 1\n[variant.x]", "sd-turbo: must be a table"),
        ('dtype = "float16"', 'dtype = "float16"\nloras = "mine"', "turbo.loras: must be a list"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text((SHIPPED / "sd-turbo.toml").read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load_registry(str(path))


def test_variants_of_one_base_have_the_same_weights(tmp_path: Path) -> None:
    text = (SHIPPED / "sd-turbo.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text.replace('base = "sd-turbo"', 'base = "sd-v1-5"'))
    with pytest.raises(
        ConfigError,
        match=r"mine\.toml: variant\.sd-v1-5\.base: 'sd-v1-5' is that of sd-turbo too, whose",
    ):
        load_registry(str(path))


def test_a_missing_registry_says_which_there_are() -> None:
    with pytest.raises(ConfigError, match=r"shipped registries: .*sdxs"):
        load_registry("no-such")
