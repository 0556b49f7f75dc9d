"""Networks of CLIP's kind: their formula is PickScore's, and what is none is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from diffserve.errors import ConfigError
from diffserve.gain.preference import scores_of

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
clip = pytest.importorskip("diffserve.gain.clip")
clips = pytest.importorskip("tests.unit.clips")

PROMPTS = ["a cat", "an owl at night", "word " * 50]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = clips.save_clip(tmp_path_factory.mktemp("clip"))
    return directory


def noise(count: int, side: int = 48) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def test_scores_are_those_of_the_published_formula(saved: Path) -> None:
    network, images = clip.Clip.load(str(saved)), noise(3)
    found = scores_of(network.images(images), network.texts(PROMPTS), network.scale)
    model = transformers.CLIPModel.from_pretrained(saved).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(saved)
    tokenizer = transformers.AutoTokenizer.from_pretrained(saved)
    for image, prompt, score in zip(images, PROMPTS, found, strict=True):
        with torch.no_grad():
            inputs = tokenizer(prompt, truncation=True, max_length=16, return_tensors="pt")
            output = model(**inputs, **processor(images=[image], return_tensors="pt"))
        assert score == pytest.approx(output.logits_per_image.item(), rel=1e-4)


def test_embeddings_are_unit_vectors_whatever_the_batch(saved: Path) -> None:
    network, images = clip.Clip.load(str(saved)), noise(clip.BATCH_SIZE + 3)
    embedded = network.images(images)
    assert embedded.shape == (clip.BATCH_SIZE + 3, 16)
    assert np.linalg.norm(embedded, axis=1) == pytest.approx(np.ones(len(images)), abs=1e-5)
    assert network.images(images[-1:])[0] == pytest.approx(embedded[-1], abs=1e-5)
    texts = network.texts(PROMPTS)
    assert network.texts(PROMPTS[:1])[0] == pytest.approx(texts[0], abs=1e-5)


def test_images_of_any_size_are_taken(saved: Path) -> None:
    network = clip.Clip.load(str(saved))
    assert network.images(noise(1, side=3)).shape == (1, 16)
    assert network.images([np.zeros((40, 90, 3), np.uint8)]).shape == (1, 16)


def test_a_folder_that_is_no_clip_is_named(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^{tmp_path}: ValueError: Unrecognized model"):
        clip.Clip.load(str(tmp_path))
    config = {**json.loads((saved / "config.json").read_text()), "model_type": "bert"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="is of type 'bert', not 'clip'"):
        clip.Clip.load_small_parts(str(tmp_path))


def test_weights_that_are_missing_are_not_made_up(saved: Path, tmp_path: Path) -> None:
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="1 weights are missing, first visual_projection"):
        clip.Clip.load(str(tmp_path))


def test_a_folder_without_weights_is_named(saved: Path, tmp_path: Path) -> None:
    for file in saved.iterdir():
        if file.suffix == ".json":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    assert clip.Clip.load_small_parts(str(tmp_path))
    with pytest.raises(ConfigError, match=f"^{tmp_path}: OSError"):
        clip.Clip.load(str(tmp_path))
