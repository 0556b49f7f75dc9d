"""The weights that ship: they load, they are small, and they do what they are for."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from diffserve.building.grading import auroc
from diffserve.embedded.concepts import CONCEPT_NAMES
from diffserve.embedded.discriminator import SceneDiscriminator
from diffserve.embedded.evaluate import draw, evaluation_prompts, load_pipeline
from diffserve.embedded.oracle import look_at
from diffserve.embedded.presets import (
    CHECKER_FOLDER,
    DISCRIMINATOR_FOLDER,
    PRESETS,
    REALNESS_FOLDER,
    WEIGHTS,
)
from diffserve.embedded.scenes import LAYOUTS, Level, render

FOLDERS = {preset.folder for preset in PRESETS} | {
    DISCRIMINATOR_FOLDER,
    REALNESS_FOLDER,
    CHECKER_FOLDER,
}


def test_the_weights_are_small():
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*")) < 80e6


@pytest.mark.parametrize("name", sorted(FOLDERS))
def test_every_model_has_a_card(name):
    assert "licence" in (WEIGHTS / name / "README.md").read_text().lower()


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.name)
def test_single_objects_are_recognised(preset):
    pipeline = load_pipeline(preset)
    assert pipeline.unet.dtype is torch.float32
    rng = np.random.default_rng(0)
    concepts = [CONCEPT_NAMES[i] for i in rng.choice(len(CONCEPT_NAMES), 20, replace=False)]
    texts = [f"flat style, a {concept}, sky blue background" for concept in concepts]
    (slot,) = LAYOUTS["single"]
    quick = dataclasses.replace(preset, num_inference_steps=min(4, preset.num_inference_steps))
    images = draw(pipeline, quick, texts, seed=0)
    seen = [look_at(image, slot, "sky blue").concept for image in images]
    assert np.mean([a == b for a, b in zip(seen, concepts, strict=True)]) >= 0.9


def test_no_configuration_names_a_place_on_a_disk():
    for path in WEIGHTS.rglob("*.json"):
        assert "_name_or_path" not in path.read_text(), path


def test_pipelines_load_where_nothing_else_was_imported():
    """As in a worker, which imports no module but the one that the catalog names."""
    load = (
        "from diffserve.embedded.pipeline import EmojiScenePipeline as P\n"
        "import sys; [P.from_pretrained(f, local_files_only=True) for f in sys.argv[1:]]"
    )
    folders = sorted({str(WEIGHTS / preset.folder) for preset in PRESETS})
    subprocess.run([sys.executable, "-c", load, *folders], check=True, capture_output=True)


def test_the_discriminator_tells_right_from_swapped():
    prompts = evaluation_prompts(Level.TWO, 40, seed=0)
    rng = np.random.default_rng(0)
    images, verdicts = [], []
    for index, prompt in enumerate(prompts):
        is_right = index % 2 == 0
        concepts = prompt.scene.concepts if is_right else prompt.scene.concepts[::-1]
        images.append(render(dataclasses.replace(prompt.scene, concepts=concepts), rng))
        verdicts.append(is_right)
    discriminator = SceneDiscriminator.from_pretrained(WEIGHTS / DISCRIMINATOR_FOLDER)
    confidences = discriminator.score(np.stack(images), [prompt.text for prompt in prompts])
    assert auroc(confidences, np.array(verdicts)) > 0.8
