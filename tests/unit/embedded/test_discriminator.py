import numpy as np
import pytest
import torch

from diffserve.embedded.concepts import BACKGROUND_NAMES, CONCEPT_NAMES, STYLES
from diffserve.embedded.discriminator import DiscriminatorNetwork, SceneDiscriminator
from diffserve.embedded.tokenizer import build_tokenizer

PROMPTS = ["an owl", "a cat left of a dog", "a zorblax"]


@pytest.fixture(scope="module")
def untrained():
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    network = DiscriminatorNetwork(
        len(tokenizer), len(CONCEPT_NAMES), len(STYLES), len(BACKGROUND_NAMES)
    )
    return SceneDiscriminator(network, tokenizer)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)


def test_confidences_are_probabilities(untrained, images):
    confidences = untrained.score(images, PROMPTS)
    assert confidences.shape == (3,)
    assert confidences.dtype == np.float32
    assert ((confidences >= 0) & (confidences <= 1)).all()


def test_an_image_is_scored_alone(untrained, images):
    together = untrained.score(images, PROMPTS)
    alone = [untrained.score(images[i : i + 1], PROMPTS[i : i + 1])[0] for i in range(3)]
    assert np.allclose(together, alone, atol=1e-5)


def test_larger_images_are_averaged_down(untrained, images):
    enlarged = images.repeat(2, axis=1).repeat(2, axis=2)
    assert np.allclose(
        untrained.score(enlarged, PROMPTS), untrained.score(images, PROMPTS), atol=1e-5
    )


def test_mismatched_arguments_are_an_error(untrained, images):
    with pytest.raises(ValueError, match="prompt"):
        untrained.score(images, PROMPTS[:2])


def test_a_saved_discriminator_scores_the_same(untrained, images, tmp_path):
    untrained.save_pretrained(tmp_path)
    assert list(tmp_path.glob("*.safetensors"))
    loaded = SceneDiscriminator.from_pretrained(tmp_path)
    before, after = untrained.score(images, PROMPTS), loaded.score(images, PROMPTS)
    assert np.allclose(before, after, atol=1e-6)
