import numpy as np
import pytest
import torch

from diffserve.embedded.captions import sample_prompt
from diffserve.embedded.export import export_realness
from diffserve.embedded.judging import Judged
from diffserve.embedded.realness import RealnessDiscriminator, RealnessNetwork, RealnessTask
from diffserve.embedded.scenes import Level


@pytest.fixture
def judged():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (2, 64, 64, 3), np.uint8)
    prompt = sample_prompt(rng, Level.ONE)
    return [Judged(prompt, noise[0], noise[1], False, False)]


def test_it_soon_tells_renders_from_noise(judged):
    torch.manual_seed(0)
    task = RealnessTask(judged)
    optimizer = torch.optim.AdamW(task.parameters(), lr=2e-3)
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(12):
        loss = task.loss(8, rng, torch.Generator())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_prompts_do_not_matter_and_a_saved_one_scores_the_same(tmp_path):
    torch.manual_seed(0)
    network = RealnessNetwork()
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    before = RealnessDiscriminator(network).score(images, ["an owl", "a cat"])
    assert before.shape == (2,)
    assert np.array_equal(before, RealnessDiscriminator(network).score(images, ["", ""]))
    export_realness(network, tmp_path)
    after = RealnessDiscriminator.from_pretrained(tmp_path).score(images, ["", ""])
    assert np.allclose(before, after, atol=1e-2)
