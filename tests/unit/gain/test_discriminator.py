"""A saved head scores as the trained one did, and finds the network of its features."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from diffserve.errors import ConfigError
from diffserve.gain.head import GainHead

torch = pytest.importorskip("torch")
clip = pytest.importorskip("diffserve.gain.clip")
clips = pytest.importorskip("tests.unit.clips")
discriminator = pytest.importorskip("diffserve.gain.discriminator")

HEAD = GainHead(
    weights=np.random.default_rng(0).standard_normal(49).astype(np.float32),
    intercept=0.05,
    spread=0.5,
)
IMAGES = np.random.default_rng(1).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
PROMPTS = ["a cat", "an owl", "a dog"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    clips.save_clip(tmp_path / "models" / "clip")
    discriminator.save_head(HEAD, str(tmp_path / "models" / "clip"), tmp_path / "out" / "head")
    return tmp_path / "out" / "head"


def test_a_saved_head_scores_as_before(folder: Path) -> None:
    loaded = discriminator.GainDiscriminator.from_pretrained(folder)
    loaded.to("cpu")
    network = clip.Clip.load(str(folder.parent.parent / "models" / "clip"))
    expected = HEAD.confidences(network.images(list(IMAGES)), network.texts(PROMPTS))
    found = loaded.score(IMAGES, PROMPTS)
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=1e-6)
    assert len(set(found.tolist())) == 3


def test_head_and_features_move_together(folder: Path, tmp_path: Path) -> None:
    assert json.loads((folder / "config.json").read_text())["features"] == "../../models/clip"
    moved = tmp_path / "elsewhere"
    for name in ("models", "out"):
        shutil.move(tmp_path / name, moved / name)
    loaded = discriminator.GainDiscriminator.from_pretrained(moved / "out" / "head")
    assert loaded.score(IMAGES, PROMPTS).shape == (3,)


def test_heads_over_the_same_features_share_them(folder: Path) -> None:
    discriminator.save_head(HEAD, str(folder.parent.parent / "models" / "clip"), folder / "two")
    one, two = (
        discriminator.GainDiscriminator.from_pretrained(f) for f in (folder, folder / "two")
    )
    assert one._clip is two._clip


def test_a_hub_id_stays_one(tmp_path: Path) -> None:
    discriminator.save_head(HEAD, "owner/clip", tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["features"] == "owner/clip"


@pytest.mark.parametrize("broken", ["config.json", "model.safetensors"])
def test_a_head_that_cannot_be_read_is_named(folder: Path, broken: str) -> None:
    (folder / broken).write_text("{}")
    with pytest.raises(ConfigError, match=f"^{folder}: no head"):
        discriminator.GainDiscriminator.from_pretrained(folder)
    (folder / broken).unlink()
    with pytest.raises(ConfigError, match=f"^{folder}: no head"):
        discriminator.GainDiscriminator.from_pretrained(folder)


def test_shapes_that_do_not_fit_are_refused(folder: Path) -> None:
    loaded = discriminator.GainDiscriminator.from_pretrained(folder)
    with pytest.raises(ValueError, match="one prompt each"):
        loaded.score(IMAGES, PROMPTS[:2])
    with pytest.raises(ValueError, match="one prompt each"):
        loaded.score(IMAGES[0], PROMPTS)
