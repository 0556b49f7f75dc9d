"""Training tasks of the text-to-image models: their batches and losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as nnf
from diffusers import UNet2DConditionModel
from transformers import PreTrainedTokenizerFast

from diffserve.embedded.captions import Prompt, sample_prompt
from diffserve.embedded.denoising import COARSE, Noising, flow_loss, to_latents
from diffserve.embedded.layout import LayoutTargets, exact_plan, layout_targets
from diffserve.embedded.palette import Palette
from diffserve.embedded.scenes import Level, Shift, render_shifted, sample_shifts
from diffserve.embedded.text_encoder import LayoutLogits, LayoutPlanner
from diffserve.embedded.tokenizer import tokenize
from diffserve.embedded.trainer import TrainingTask

#: Share of captions replaced by the empty one, which guidance needs.
CAPTION_DROPOUT = 0.1
#: Learning rate of the palette's table, in multiples of the others'.
TABLE_RATE = 5.0

#: How often each level is drawn for planners.
PLANNER_LEVELS: Mapping[Level, float] = MappingProxyType(
    {
        Level.ONE: 0.2,
        Level.TWO: 0.25,
        Level.COUNT: 0.15,
        Level.GROUP: 0.15,
        Level.THREE: 0.15,
        Level.FOUR: 0.1,
    }
)
#: And for denoisers, which get exact layouts: the more objects an image has, the more it teaches.
DENOISER_LEVELS: Mapping[Level, float] = MappingProxyType(
    {
        Level.ONE: 0.35,
        Level.TWO: 0.1,
        Level.COUNT: 0.05,
        Level.GROUP: 0.05,
        Level.THREE: 0.15,
        Level.FOUR: 0.3,
    }
)


def draw_prompts(
    rng: np.random.Generator, levels: Mapping[Level, float], count: int
) -> list[Prompt]:
    """Draw ``count`` training prompts, with levels in the given proportions."""
    picks = rng.choice(len(levels), size=count, p=list(levels.values()))
    names = list(levels)
    return [sample_prompt(rng, names[pick]) for pick in picks]


def drop_some(prompts: Sequence[Prompt], rng: np.random.Generator) -> list[Prompt | None]:
    """Replace a share of ``CAPTION_DROPOUT`` of the prompts by None, the empty caption."""
    return [None if rng.random() < CAPTION_DROPOUT else prompt for prompt in prompts]


def render_latents(prompts: Sequence[Prompt], shifts: Sequence[Sequence[Shift]]) -> torch.Tensor:
    """Render one training image per prompt and return the latents, shape (B, 48, 16, 16)."""
    pairs = zip(prompts, shifts, strict=True)
    images = np.stack([render_shifted(prompt.scene, row) for prompt, row in pairs])
    return to_latents(torch.from_numpy(images))


def layout_loss(logits: LayoutLogits, targets: LayoutTargets) -> torch.Tensor:
    """Return the sum of the errors of a predicted layout, a scalar."""
    device = logits.concepts.device
    is_covered = (targets.concepts > 0)[:, None].to(device)
    misplacement = (logits.geometry.float() - targets.geometry.to(device)) ** 2
    return (
        nnf.cross_entropy(logits.concepts.float(), targets.concepts.to(device))
        + (misplacement * is_covered).mean()
        + 0.3 * nnf.cross_entropy(logits.styles.float(), targets.styles.to(device))
        + 0.3 * nnf.cross_entropy(logits.backgrounds.float(), targets.backgrounds.to(device))
    )


class PlannerTask(TrainingTask):
    """A layout planner, trained on captions alone."""

    def __init__(self, planner: LayoutPlanner, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.planner = planner
        self._tokenizer = tokenizer

    def loss(
        self, batch_size: int, rng: np.random.Generator, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the layout loss of a fresh batch."""
        del generator  # Nothing here is noisy.
        prompts = drop_some(draw_prompts(rng, PLANNER_LEVELS, batch_size), rng)
        targets = layout_targets(prompts)
        device = self.planner.device
        texts = [prompt.text if prompt else "" for prompt in prompts]
        logits = self.planner.predict(*tokenize(self._tokenizer, texts, device))
        return layout_loss(logits, targets)


def table_groups(task: TrainingTask, palette: Palette) -> list[dict[str, object]]:
    """Return parameter groups in which the palette's table has a higher learning rate.

    Every image uses only a few of its rows, so each of them learns from few images.
    """
    others = [parameter for parameter in task.parameters() if parameter is not palette.table]
    return [{"params": others}, {"params": [palette.table], "scale": TABLE_RATE}]


class DenoiserTask(TrainingTask):
    """A denoiser and its palette, taught with exact layouts; a planner learns apart to supply them.

    Args:
        palette: What to train together with the denoiser.
        denoiser: What to train.
        is_guided: Whether to drop captions, so that the model can be sampled with guidance.
        is_told_shifts: Whether the layouts tell how far the objects of an image are shifted.
        noising: How noise levels are drawn.
    """

    def __init__(
        self,
        palette: Palette,
        denoiser: UNet2DConditionModel,
        *,
        is_guided: bool,
        is_told_shifts: bool = False,
        noising: Noising = COARSE,
    ) -> None:
        super().__init__()
        self.palette = palette
        self.denoiser = denoiser
        self._is_guided = is_guided
        self._is_told_shifts = is_told_shifts
        self._noising = noising

    def parameter_groups(self) -> list[dict[str, object]]:
        """Let the palette's table learn faster."""
        return table_groups(self, self.palette)

    def loss(
        self, batch_size: int, rng: np.random.Generator, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the flow loss of a fresh batch."""
        prompts = draw_prompts(rng, DENOISER_LEVELS, batch_size)
        captions: Sequence[Prompt | None] = prompts
        if self._is_guided:
            captions = drop_some(prompts, rng)
        shifts = [sample_shifts(prompt.scene, rng) for prompt in prompts]
        targets = layout_targets(captions, shifts if self._is_told_shifts else None)
        plan = exact_plan(targets).to(self.denoiser.device)
        clean = render_latents(prompts, shifts).to(self.denoiser.device)
        return flow_loss(self.denoiser, clean, self.palette(plan), generator, self._noising)
