"""Distilling a many-step teacher into a student that draws in one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf
from diffusers import UNet2DConditionModel

from diffserve.embedded.captions import Prompt
from diffserve.embedded.denoising import LATENT_CHANNELS, predict_clean, to_latents
from diffserve.embedded.layout import GRID, exact_plan, layout_targets
from diffserve.embedded.palette import Palette
from diffserve.embedded.pipeline import EmojiScenePipeline
from diffserve.embedded.scenes import sample_shifts
from diffserve.embedded.tasks import (
    DENOISER_LEVELS,
    draw_prompts,
    render_latents,
    table_groups,
)
from diffserve.embedded.trainer import TrainingTask

#: Share of a batch that comes from the teacher; the rest are renders.
_TEACHER_SHARE = 0.5
_BATCH_SIZE = 32


@dataclass(frozen=True)
class Lesson:
    """What the teacher made of some noise.

    Attributes:
        prompt: What was asked for.
        noise: Where the teacher started, shape (48, 16, 16).
        image: Where it arrived, shape (64, 64, 3).
    """

    prompt: Prompt
    noise: torch.Tensor
    image: torch.Tensor


class DistillationTask(TrainingTask):
    """A one-step student, from pure noise straight to an image.

    The error is absolute, not squared: among the places where an object may sit, the student then
    settles for the middle one instead of blurring them all.

    Args:
        palette: What to train together with the denoiser.
        denoiser: What to train.
        lessons: The teacher's images; without any, the student learns from renders alone.
    """

    def __init__(
        self, palette: Palette, denoiser: UNet2DConditionModel, lessons: Sequence[Lesson] = ()
    ) -> None:
        super().__init__()
        self.palette = palette
        self.denoiser = denoiser
        self._lessons = lessons

    def parameter_groups(self) -> list[dict[str, object]]:
        """Let the palette's table learn faster."""
        return table_groups(self, self.palette)

    def loss(
        self, batch_size: int, rng: np.random.Generator, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the mean absolute error of one-step images, a scalar."""
        num_taught = round(_TEACHER_SHARE * batch_size) if self._lessons else 0
        prompts = draw_prompts(rng, DENOISER_LEVELS, batch_size - num_taught)
        clean = render_latents(prompts, [sample_shifts(prompt.scene, rng) for prompt in prompts])
        noise = torch.randn(clean.shape, generator=generator)
        if num_taught:
            picks = rng.choice(len(self._lessons), size=num_taught)
            taught = [self._lessons[pick] for pick in picks]
            prompts += [lesson.prompt for lesson in taught]
            images = torch.stack([lesson.image for lesson in taught])
            clean = torch.cat([clean, to_latents(images)])
            noise = torch.cat([noise, torch.stack([lesson.noise.float() for lesson in taught])])
        device = self.denoiser.device
        features = self.palette(exact_plan(layout_targets(prompts)).to(device))
        level = torch.ones(len(noise), device=device)
        predicted = predict_clean(self.denoiser, noise.to(device), level, features)
        return nnf.l1_loss(predicted.float(), clean.to(device))


@torch.no_grad()
def teach(teacher: EmojiScenePipeline, count: int, num_steps: int, seed: int) -> list[Lesson]:
    """Let the teacher draw ``count`` training prompts and keep the noise it started from."""
    prompts = draw_prompts(np.random.default_rng(seed), DENOISER_LEVELS, count)
    generator = torch.Generator().manual_seed(seed)
    lessons = []
    for start in range(0, count, _BATCH_SIZE):
        batch = prompts[start : start + _BATCH_SIZE]
        noise = torch.randn((len(batch), LATENT_CHANNELS, GRID, GRID), generator=generator)
        (images,) = teacher(
            [prompt.text for prompt in batch],
            num_inference_steps=num_steps,
            guidance_scale=1.0,
            latents=noise,
            output_type="pt",
            return_dict=False,
        )
        pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
        rows = zip(batch, noise.half(), pixels, strict=True)
        lessons += [Lesson(*row) for row in rows]
    return lessons
