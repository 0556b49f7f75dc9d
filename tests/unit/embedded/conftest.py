import pytest
import torch

from diffserve.embedded.networks import (
    new_heavy_denoiser,
    new_heavy_planner,
    new_light_denoiser,
    new_light_planner,
    new_scheduler,
)
from diffserve.embedded.pipeline import EmojiScenePipeline
from diffserve.embedded.tokenizer import build_tokenizer


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


def untrained_pipeline(new_planner, new_denoiser) -> EmojiScenePipeline:
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    pipeline = EmojiScenePipeline(
        tokenizer, new_planner(tokenizer).eval(), new_denoiser().eval(), new_scheduler()
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def untrained_light() -> EmojiScenePipeline:
    return untrained_pipeline(new_light_planner, new_light_denoiser)


@pytest.fixture(scope="session")
def untrained_heavy() -> EmojiScenePipeline:
    return untrained_pipeline(new_heavy_planner, new_heavy_denoiser)


@pytest.fixture(params=["light", "heavy"])
def untrained(request, untrained_light, untrained_heavy) -> EmojiScenePipeline:
    return untrained_light if request.param == "light" else untrained_heavy
