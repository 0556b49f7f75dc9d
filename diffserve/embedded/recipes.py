"""How each shipped model was meant to be trained: stages, batch sizes, learning rates, budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from diffserve.embedded.denoising import COARSE, FINE, Noising


@dataclass(frozen=True)
class Stage:
    """A part of a training run.

    Attributes:
        name: Its folder below the run's.
        steps: How long it lasts by default.
        batch_size: Samples per step.
        learning_rate: Peak learning rate.
        ema_decay: Decay of the weight average, per step.
    """

    name: str
    steps: int
    batch_size: int
    learning_rate: float
    ema_decay: float = 0.998


@dataclass(frozen=True)
class PipelineRecipe:
    """Stages of a text-to-image model: its planner, then its palette and denoiser.

    Attributes:
        folder: Folder of the finished weights.
        planner: Trained on captions alone; None for a model that begins with what the medium
            model knows: its planner and palette as they are, its denoiser widened.
        denoiser: Trained on renders with exact layouts.
        num_lessons: Images of the medium model that a one-step model is distilled from; 0 trains a
            rectified flow instead.
        is_guided: Whether captions are dropped, so that guidance is possible.
        is_told_shifts: Whether the denoiser is told where exactly objects sit, see `positions.py`.
        noising: Of the images that the denoiser learns from.
    """

    folder: str
    planner: Stage | None
    denoiser: Stage
    num_lessons: int = 0
    is_guided: bool = False
    is_told_shifts: bool = False
    noising: Noising = COARSE


PIPELINES: Mapping[str, PipelineRecipe] = MappingProxyType(
    {
        "tiny": PipelineRecipe(
            "sprite-tiny",
            Stage("planner", 2000, 48, 2e-3, ema_decay=0.995),
            Stage("denoiser", 12_000, 32, 1e-3),
            num_lessons=4000,
        ),
        "light": PipelineRecipe(
            "sprite-light",
            Stage("planner", 2000, 48, 2e-3, ema_decay=0.995),
            Stage("denoiser", 12_000, 16, 1e-3),
        ),
        "medium": PipelineRecipe(
            "sprite-medium",
            Stage("planner", 3000, 48, 1e-3, ema_decay=0.995),
            Stage("denoiser", 20_000, 16, 1e-3),
            is_guided=True,
        ),
        "heavy": PipelineRecipe(
            "sprite-heavy",
            None,
            Stage("denoiser", 12_000, 16, 6e-4, ema_decay=0.999),
            is_guided=True,
            is_told_shifts=True,
            noising=FINE,
        ),
    }
)

#: The discriminator first learns to read renders, then to judge the light model's own images.
RENDERS = Stage("renders", 3000, 48, 1e-3)
LIGHT_IMAGES = Stage("light-images", 2000, 48, 5e-4)
#: The image-only discriminator of the paper.
REALNESS = Stage("realness", 2000, 48, 1e-3)
#: Prompts that the light and the heavy model draw for the discriminators.
NUM_JUDGED = 4000
