import pytest
import torch

from diffserve.embedded.networks import (
    SIZES,
    new_denoiser,
    new_palette,
    new_planner,
    new_scheduler,
)
from diffserve.embedded.pipeline import EmojiScenePipeline
from diffserve.embedded.tokenizer import build_tokenizer


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


def untrained_pipeline(name) -> EmojiScenePipeline:
    torch.manual_seed(0)
    size, tokenizer = SIZES[name], build_tokenizer()
    pipeline = EmojiScenePipeline(
        tokenizer,
        new_planner(size, tokenizer).eval(),
        new_palette(size).eval(),
        new_denoiser(size).eval(),
        new_scheduler(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def untrained_light() -> EmojiScenePipeline:
    return untrained_pipeline("light")


@pytest.fixture(scope="session")
def untrained_heavy() -> EmojiScenePipeline:
    return untrained_pipeline("heavy")


@pytest.fixture(params=["light", "heavy"])
def untrained(request, untrained_light, untrained_heavy) -> EmojiScenePipeline:
    return untrained_light if request.param == "light" else untrained_heavy
