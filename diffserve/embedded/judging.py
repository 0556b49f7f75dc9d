"""Examples for the discriminators: what light and heavy drew, with the oracle's verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from diffserve.embedded.captions import Prompt
from diffserve.embedded.oracle import shows_objects
from diffserve.embedded.pipeline import EmojiScenePipeline, draw_images
from diffserve.embedded.presets import LIGHT, MEDIUM, Preset
from diffserve.embedded.scenes import Array, Level
from diffserve.embedded.tasks import draw_prompts

#: How often each level is drawn for the discriminators.
LEVELS: Mapping[Level, float] = MappingProxyType(
    {
        Level.ONE: 0.3,
        Level.TWO: 0.2,
        Level.COUNT: 0.15,
        Level.GROUP: 0.15,
        Level.THREE: 0.1,
        Level.FOUR: 0.1,
    }
)
_BATCH_SIZE = 32


@dataclass(frozen=True)
class Judged:
    """One training prompt, drawn by both models.

    Attributes:
        prompt: What was asked for.
        light: The light image, shape (64, 64, 3).
        heavy: The heavy image.
        is_light_right: Whether the light image shows its objects, as the oracle sees it.
        is_heavy_right: The same of the heavy image.
    """

    prompt: Prompt
    light: Array
    heavy: Array
    is_light_right: bool
    is_heavy_right: bool

    @property
    def is_gain(self) -> bool:
        """Whether the heavy model would be clearly better."""
        return self.is_heavy_right and not self.is_light_right


def judge_images(
    light: EmojiScenePipeline, heavy: EmojiScenePipeline, count: int, seed: int
) -> list[Judged]:
    """Let both models draw ``count`` training prompts and ask the oracle about the images.

    The heavy model draws in few steps: what it gets right hardly depends on their number.
    """
    prompts = draw_prompts(np.random.default_rng(seed), LEVELS, count)
    judged = []
    for start in range(0, count, _BATCH_SIZE):
        batch = prompts[start : start + _BATCH_SIZE]
        lights = _draw(light, LIGHT, batch, seed + start)
        heavies = _draw(heavy, MEDIUM, batch, seed + start)
        for prompt, light_image, heavy_image in zip(batch, lights, heavies, strict=True):
            verdicts = shows_objects(light_image, prompt), shows_objects(heavy_image, prompt)
            judged.append(Judged(prompt, light_image, heavy_image, *verdicts))
    return judged


def _draw(
    pipeline: EmojiScenePipeline, preset: Preset, prompts: list[Prompt], first_seed: int
) -> Array:
    return draw_images(
        pipeline,
        [prompt.text for prompt in prompts],
        preset.num_inference_steps,
        preset.guidance_scale,
        seeds=range(first_seed, first_seed + len(prompts)),
    )
