"""What is written is what the services load."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from diffserve.activation import activation_of, extended
from diffserve.building.catalog_file import Profile, Served, relative, served_cascades
from diffserve.building.choice import Candidate, Choice, PairName, cascade_id, choose
from diffserve.building.pairs import OperatingPoint, PairedOutcomes
from diffserve.catalog import load_catalog
from diffserve.embedded.evaluate import DISCRIMINATORS
from diffserve.embedded.presets import HEAVY, LIGHT, MEDIUM, WEIGHTS
from diffserve.embedded.zoo_catalog import SLO_S, catalog_text

PRESETS = {preset.name: preset for preset in (LIGHT, MEDIUM, HEAVY)}
ACCURACY = {LIGHT.name: 0.3, MEDIUM.name: 0.9, HEAVY.name: 1.0}
SECONDS = {LIGHT.name: 0.05, MEDIUM.name: 0.15, HEAVY.name: 0.5}
NUM_PROMPTS = 40
PROFILE = Profile(
    execution_s={1: 0.1, 2: 0.15}, execution_s_p95={1: 0.2, 2: 0.2}, memory_bytes=9, load_s=0.5
)


def choice(discriminator: str = "sprite-discriminator") -> Choice:
    ranks = np.arange(NUM_PROMPTS) / NUM_PROMPTS
    pairs = {
        PairName(light, heavy, discriminator): PairedOutcomes(
            light=(ranks < ACCURACY[light]).astype(float),
            heavy=(ranks < ACCURACY[heavy]).astype(float),
            confidences=1.0 - ranks,
            light_s=SECONDS[light],
            heavy_s=SECONDS[heavy],
            scoring_s=0.001,
        )
        for light, heavy in (
            (LIGHT.name, MEDIUM.name),
            (LIGHT.name, HEAVY.name),
            (MEDIUM.name, HEAVY.name),
        )
    }
    singles = {
        name: OperatingPoint(fraction=0.0, quality=ACCURACY[name], device_s=SECONDS[name])
        for name in ACCURACY
    }
    return choose(pairs, singles, 0.97)


def served(found: Choice, class_id: str = "") -> list[Served]:
    def slo_s(candidate: Candidate) -> float:
        return SLO_S + (candidate is not found.default and bool(class_id))

    return served_cascades(found, slo_s, lambda candidate: "Kept.", is_class=bool(class_id))


def written(found: Choice, folder: Path, class_id: str = "") -> str:
    profiles = dict.fromkeys(PRESETS, PROFILE)
    root = relative(WEIGHTS, folder)
    return catalog_text("Ours", served(found, class_id), PRESETS, profiles, root, class_id)


def test_services_can_load_what_was_chosen(tmp_path: Path) -> None:
    found = choice()
    path = tmp_path / "deep" / "cascades.toml"
    path.parent.mkdir()
    path.write_text(written(found, path.parent))
    catalog = load_catalog(str(path))
    assert catalog.default_cascade == "sprite-medium-sprite-heavy"
    # Others would take workers from it, though nobody asks for them.
    (cascade,) = catalog.cascades.values()
    assert cascade.deferral_max == found.default.point.fraction
    assert cascade.slo_s == SLO_S
    assert 0.0 < cascade.deferral_max < 1.0
    variant = catalog.variants[HEAVY.name]
    assert (Path(variant.source) / "model_index.json").exists()
    assert (variant.memory_bytes, variant.load_s) == (9, 0.5)
    assert catalog.latency[MEDIUM.name].execution_s(2) == 0.15
    curve = catalog.quality[catalog.default_cascade]
    assert curve.quality_at(0.0) == 0.9
    assert curve.quality_at(1.0) == 1.0


def test_as_one_class_they_are_mixed_by_load(tmp_path: Path) -> None:
    found = choice()
    path = tmp_path / "cascades.toml"
    path.write_text(written(found, tmp_path, "by-load"))
    catalog = load_catalog(str(path))
    kept = {cascade_id(c.name) for c in found.candidates if c.is_kept or c is found.default}
    assert catalog.default_cascade == "by-load"
    assert set(catalog.default_class.cascade_ids) == set(catalog.cascades) == kept
    assert len(kept) > 1
    # No cap: that of one cascade would bind when there is time to spare; and one promise.
    assert {c.deferral_max for c in catalog.cascades.values()} == {1.0}
    assert {c.slo_s for c in catalog.cascades.values()} == {SLO_S + 1}


@pytest.mark.parametrize("discriminator", DISCRIMINATORS)
def test_what_was_chosen_can_be_activated_where_the_shipped_models_run(
    discriminator: str, tmp_path: Path
) -> None:
    found = choice(discriminator)
    running = load_catalog("embedded")
    added = activation_of(running, Path("cascades.toml"), written(found, tmp_path), "")
    after = extended(running, added)
    assert after.default_cascade == cascade_id(found.default.name)
    assert after.cascades[after.default_cascade].discriminator == discriminator
    assert "sprites" in after.classes
    assert set(running.cascades) < set(after.cascades)
