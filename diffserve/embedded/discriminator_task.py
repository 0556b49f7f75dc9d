"""Training the discriminator: spoilt renders first of all, then the light model's own images.

What it learns to predict is the gain: whether the heavy model's image would be clearly better.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf
from transformers import PreTrainedTokenizerFast

from diffserve.embedded.captions import Prompt
from diffserve.embedded.concepts import BACKGROUND_NAMES, CONCEPT_NAMES, STYLES
from diffserve.embedded.denoising import to_latents
from diffserve.embedded.discriminator import DiscriminatorNetwork
from diffserve.embedded.judging import LEVELS, Judged
from diffserve.embedded.layout import exact_plan, layout_targets
from diffserve.embedded.scenes import LAYOUTS, Array, Scene, render
from diffserve.embedded.tasks import draw_prompts, layout_loss
from diffserve.embedded.text_encoder import LayoutLogits, LayoutPlanner
from diffserve.embedded.tokenizer import tokenize
from diffserve.embedded.trainer import TrainingTask

#: Share of a batch made of the light model's images, once there are some.
_LIGHT_SHARE = 0.6


@dataclass(frozen=True)
class Example:
    """An image to learn from.

    Attributes:
        image: Shape (64, 64, 3).
        prompt: What was asked for.
        is_enough: Whether a heavy image would not be clearly better.
        shown: What the image shows, where that is known.
    """

    image: Array
    prompt: Prompt
    is_enough: bool
    shown: Scene | None


class DiscriminatorTask(TrainingTask):
    """The discriminator; its planner is a finished copy of the heavy model's and stays fixed."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        planner: LayoutPlanner,
        judged: Sequence[Judged] = (),
    ) -> None:
        super().__init__()
        self.network = DiscriminatorNetwork(
            vocab_size=len(tokenizer),
            num_concepts=len(CONCEPT_NAMES),
            num_styles=len(STYLES),
            num_backgrounds=len(BACKGROUND_NAMES),
            max_tokens=tokenizer.model_max_length,
        )
        self.network.planner.load_state_dict(planner.state_dict())
        self.network.planner.requires_grad_(False)
        self._judged = [light_example(drawn) for drawn in judged]

    def loss(
        self, batch_size: int, rng: np.random.Generator, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the error of the confidences plus that of reading the images."""
        del generator  # All randomness is in the choice of the images.
        examples = self._draw_examples(batch_size, rng)
        device = self.network.device
        images = torch.from_numpy(np.stack([example.image for example in examples]))
        features, seen = self.network.read(to_latents(images).to(device))
        wanted = exact_plan(layout_targets([example.prompt for example in examples]))
        logits = self.network.compare(features, seen.plan(), wanted.to(device))
        verdicts = [float(example.is_enough) for example in examples]
        judging = nnf.binary_cross_entropy_with_logits(
            logits.float(), torch.tensor(verdicts, device=device)
        )
        return judging + _reading_loss(seen, [example.shown for example in examples])

    def _draw_examples(self, count: int, rng: np.random.Generator) -> list[Example]:
        num_light = round(_LIGHT_SHARE * count) if self._judged else 0
        prompts = draw_prompts(rng, LEVELS, count - num_light)
        examples = [
            draw_spoilt(prompt, rng) if rng.random() < 0.5 else draw_sound(prompt, rng)
            for prompt in prompts
        ]
        if num_light:
            picks = rng.choice(len(self._judged), size=num_light)
            examples += [self._judged[pick] for pick in picks]
        return examples


def light_example(drawn: Judged) -> Example:
    """Return a light image, with whether it is good enough beside the heavy one."""
    shown = drawn.prompt.scene if drawn.is_light_right else None
    return Example(drawn.light, drawn.prompt, not drawn.is_gain, shown)


@torch.no_grad()
def fit_temperature(
    network: DiscriminatorNetwork, tokenizer: PreTrainedTokenizerFast, judged: Sequence[Judged]
) -> float:
    """Return the temperature that makes confidences fit verdicts best on examples not learned from.

    Trained networks are too sure of themselves; dividing their logits keeps the order of the
    images and spreads the confidences out.
    """
    logits = []
    examples = [light_example(drawn) for drawn in judged]
    for start in range(0, len(examples), 32):
        batch = examples[start : start + 32]
        images = torch.from_numpy(np.stack([example.image for example in batch]))
        tokens = tokenize(tokenizer, [example.prompt.text for example in batch])
        logits.append(network(to_latents(images), *tokens))
    verdicts = torch.tensor([float(example.is_enough) for example in examples])
    temperatures: list[float] = np.geomspace(0.5, 20, 75).tolist()
    errors = [
        nnf.binary_cross_entropy_with_logits(torch.cat(logits) / temperature, verdicts).item()
        for temperature in temperatures
    ]
    return round(temperatures[int(np.argmin(errors))], 3)


def draw_sound(prompt: Prompt, rng: np.random.Generator) -> Example:
    """Render what a prompt asks for, as imperfectly as a good model would."""
    image = _blemish(render(prompt.scene, rng), rng)
    return Example(image, prompt, is_enough=True, shown=prompt.scene)


def draw_spoilt(prompt: Prompt, rng: np.random.Generator) -> Example:
    """Render something that a prompt does not ask for but that a model might draw."""
    scene = _spoil(prompt, rng)
    image = render(scene, rng)
    is_mixed = rng.random() < 0.3
    if is_mixed:
        # Models that cannot decide draw a mixture.
        share = rng.uniform(0.35, 0.9)
        image = (share * image + (1 - share) * render(prompt.scene, rng)).astype(np.uint8)
    return Example(_blemish(image, rng), prompt, False, None if is_mixed else scene)


def _reading_loss(seen: LayoutLogits, shown: list[Scene | None]) -> torch.Tensor:
    """Return how badly the layouts of known scenes are read, a scalar."""
    rows = [row for row, scene in enumerate(shown) if scene is not None]
    scenes = [
        Prompt("", scene, names_style=True, names_background=True)
        for scene in shown
        if scene is not None
    ]
    return layout_loss(seen.select(rows), layout_targets(scenes))


def _spoil(prompt: Prompt, rng: np.random.Generator) -> Scene:
    """Change a scene so that the prompt no longer describes it."""
    scene = prompt.scene
    ways = ["replace", "replace", "layout"]
    if len(set(scene.concepts)) > 1:
        ways += ["swap", "swap"]
    if prompt.names_style and len(STYLES) > 1:
        ways.append("style")
    if prompt.names_background:
        ways.append("background")
    way = ways[rng.integers(len(ways))]
    if way == "style":
        return dataclasses.replace(scene, style=_other(STYLES, scene.style, rng))
    if way == "background":
        background = _other(BACKGROUND_NAMES, scene.background, rng)
        return dataclasses.replace(scene, background=background)
    concepts = list(scene.concepts)
    if way == "swap":
        concepts = concepts[1:] + concepts[:1]
    elif way == "replace":
        place = rng.integers(len(concepts))
        concepts[place] = _other(CONCEPT_NAMES, concepts[place], rng)
    else:
        layout = _other(tuple(LAYOUTS), scene.layout, rng)
        size = len(LAYOUTS[layout])
        concepts = (concepts * size)[:size]
        return dataclasses.replace(scene, layout=layout, concepts=tuple(concepts))
    return dataclasses.replace(scene, concepts=tuple(concepts))


def _other(options: tuple[str, ...], current: str, rng: np.random.Generator) -> str:
    rest = [option for option in options if option != current]
    return rest[rng.integers(len(rest))]


def _blemish(image: Array, rng: np.random.Generator) -> Array:
    """Add a little noise and blur, so that cleanness alone says nothing."""
    pixels = image.astype(np.float32)
    if rng.random() < 0.5:
        blurred = sum(np.roll(pixels, shift, axis) for shift in (-1, 1) for axis in (0, 1)) / 4
        share = rng.uniform(0, 0.6)
        pixels = (1 - share) * pixels + share * blurred
    pixels += rng.uniform(0, 10) * rng.standard_normal(pixels.shape, np.float32)
    return pixels.clip(0, 255).astype(np.uint8)
