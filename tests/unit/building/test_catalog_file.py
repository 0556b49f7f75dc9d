"""Every field of every variant arrives in the catalog as it was in the registry."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from diffserve.building.catalog_file import (
    Contents,
    Profile,
    Served,
    catalog_text,
    seen_from,
)
from diffserve.building.choice import PairName
from diffserve.building.pairs import PairedOutcomes
from diffserve.catalog import Discriminator, Example, load_catalog
from diffserve.core import Lora, Variant
from diffserve.registry import load_registry, shipped_registries

PROFILE = Profile(
    execution_s={1: 0.01234567, 4: 12.0},
    execution_s_p95={1: 0.02, 4: 13.0},
    memory_bytes=1000,
    load_s=2.34567,
)
OUTCOMES = PairedOutcomes(
    light=np.array([0.1, 0.5, 0.6]),
    heavy=np.full(3, 0.5),
    confidences=np.array([0.1, 0.5, 0.9]),
    light_s=0.1,
    heavy_s=1.0,
    scoring_s=0.0,
)


def written(variants: list[Variant], folder: Path, metric: str = "m") -> Path:
    light, heavy = variants[0].variant_id, variants[1].variant_id
    discriminator = Discriminator(discriminator_id="gain", scorer="a:B", source="heads/gain")
    served = Served(
        cascade_id="the-pair",
        name=PairName(light, heavy, "gain"),
        outcomes=OUTCOMES,
        slo_s=7.5,
        deferral_max=0.25,
        remark="Kept.",
    )
    contents = Contents(
        head=("Ours", "and theirs"),
        served=(served,),
        variants=[seen_from(variant, folder) for variant in variants],
        profiles={variant.variant_id: PROFILE for variant in variants},
        discriminators=(discriminator,),
        metric=metric,
        examples=(Example("easy", 'a "cat" \\ dog'),),
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cascades.toml"
    path.write_text(catalog_text(contents), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", shipped_registries())
def test_shipped_registries_survive_the_catalog(name: str, tmp_path: Path) -> None:
    variants = load_registry(name)
    catalog = load_catalog(str(written(list(variants.values()), tmp_path)))
    measured = {
        v: dataclasses.replace(variant, memory_bytes=1000, load_s=2.346)
        for v, variant in variants.items()
    }
    assert catalog.variants == measured
    assert list(catalog.variants) == list(variants)
    assert catalog.latency[next(iter(variants))].seconds_by_batch == {1: 0.01235, 4: 12.0}


def test_every_field_survives_with_local_sources(tmp_path: Path) -> None:
    for name in ("weights", "unet", "checker", "lora"):
        (tmp_path / "models" / name).mkdir(parents=True)
    models = tmp_path / "models"
    (models / "weights.safetensors").touch()
    everything = Variant(
        variant_id="v1.5 tuned",
        base='b"ase',
        pipeline="my.module:Pipeline",
        source=str(models / "weights.safetensors"),
        num_inference_steps=7,
        guidance_scale=7.25,
        width=512,
        height=768,
        dtype="bfloat16",
        scheduler="EulerDiscreteScheduler",
        memory_bytes=5,
        load_s=0.125,
        size_multiple=16,
        size_max=1024,
        scheduler_options=(("beta_start", 1e-05), ("name", "trailing"), ("steps", 3), ("x", True)),
        denoiser=str(models / "unet"),
        loras=(
            Lora(source=str(models / "lora"), weight_name="a.safetensors", scale=0.5),
            Lora(source="owner/name"),
        ),
        weight_variant="fp16",
        safety_checker=str(models / "checker"),
        config=str(models / "weights"),
        step_cache=3,
    )
    unset = [
        field.name
        for field in dataclasses.fields(everything)
        if getattr(everything, field.name) == field.default
    ]
    assert not unset, "the test is to set every field"
    other = dataclasses.replace(
        everything, variant_id="other", base="other", source="owner/other", config="", loras=()
    )
    path = written([everything, other], tmp_path / "out")
    assert str(tmp_path) not in path.read_text(), "folders move together with the catalog"
    catalog = load_catalog(str(path))
    assert catalog.variants == {"v1.5 tuned": everything, "other": other}


def test_cascades_arrive_too(tmp_path: Path) -> None:
    metric = 'chance that "it" is preferred'
    path = written(list(load_registry("sdxs").values()), tmp_path, metric)
    catalog = load_catalog(str(path))
    cascade = catalog.cascades[catalog.default_cascade]
    assert (cascade.light, cascade.heavy, cascade.discriminator) == ("sdxs", "sd-v1-5", "gain")
    assert (cascade.slo_s, cascade.deferral_max) == (7.5, 0.25)
    assert catalog.quality["the-pair"].metric == metric
    assert catalog.quality["the-pair"].quality_at(0.0) == 0.4
    assert catalog.examples == (Example("easy", 'a "cat" \\ dog'),)
    assert path.read_text().startswith("# Ours\n# and theirs\n")
