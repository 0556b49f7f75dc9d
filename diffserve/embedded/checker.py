"""The slot checker: a small CNN that measures prompt accuracy, apart from all other models."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as nnf
from safetensors.torch import load_file, save_file
from torch import nn

from diffserve.embedded.captions import Prompt
from diffserve.embedded.concepts import CONCEPT_NAMES
from diffserve.embedded.presets import CHECKER_FOLDER, WEIGHTS
from diffserve.embedded.scenes import IMAGE_PX, LAYOUTS, Array, Level, Slot, render, sample_scene

#: The trained checker that comes with the package.
SHIPPED_CHECKER = WEIGHTS / CHECKER_FOLDER / "model.safetensors"

_CROP_PX = 32
_MARGIN_PX = 2
_OTHER = len(CONCEPT_NAMES)
_SEED = 20_000
_STEPS = 1200
_BATCH_SIZE = 128


class SlotChecker(nn.Module):
    """Names the concept in a crop, whatever its style, or "other" when it shows none properly."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 24, 64, 96)
        blocks = [
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            for before, after in itertools.pairwise(widths)
        ]
        self.features = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1] * (_CROP_PX // 8) ** 2, _OTHER + 1)

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Return logits (B, concepts + 1) for crops (B, 3, 32, 32) in [0, 1]."""
        return cast(torch.Tensor, self.head(self.features(crops - 0.5).flatten(1)))

    @torch.no_grad()
    def are_right(self, images: Sequence[Array], prompts: Sequence[Prompt]) -> list[bool]:
        """Return for every image (64, 64, 3) whether all slots show the prompt's concepts."""
        verdicts = []
        for image, prompt in zip(images, prompts, strict=True):
            crops = torch.stack([cut(image, slot) for _, slot in prompt.scene.objects])
            seen = self(crops).argmax(dim=1).tolist()
            expected = [CONCEPT_NAMES.index(concept) for concept in prompt.scene.concepts]
            verdicts.append(seen == expected)
        return verdicts


def cut(image: Array, slot: Slot) -> torch.Tensor:
    """Cut a slot with a small margin and scale it, float32 (3, 32, 32) in [0, 1]."""
    half = slot.side // 2 + _MARGIN_PX
    top, left = max(0, slot.y - half), max(0, slot.x - half)
    window = image[top : min(IMAGE_PX, slot.y + half), left : min(IMAGE_PX, slot.x + half)]
    pixels = torch.from_numpy(window.copy()).permute(2, 0, 1)[None].float() / 255
    return nnf.interpolate(pixels, (_CROP_PX, _CROP_PX), mode="bilinear", antialias=True)[0]


def load_or_train_checker(path: Path) -> SlotChecker:
    """Return the checker; the first time it is trained on real renders and cached at ``path``."""
    checker = SlotChecker()
    if path.exists():
        checker.load_state_dict(load_file(path))
        return checker.eval()
    _train(checker)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(checker.state_dict(), path)
    return checker.eval()


def _train(checker: SlotChecker) -> None:
    torch.manual_seed(_SEED)
    rng = np.random.default_rng(_SEED)
    optimizer = torch.optim.AdamW(checker.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=_STEPS)
    for _ in range(_STEPS):
        crops, labels = _draw_batch(rng)
        loss = nnf.cross_entropy(checker(crops), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def _draw_batch(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw crops of real renders, a fifth of them spoilt and labelled "other".

    Returns:
        Crops (B, 3, 32, 32) and labels (B,).
    """
    crops: list[torch.Tensor] = []
    labels: list[int] = []
    several = [level for level in Level if level is not Level.ONE]
    while len(crops) < _BATCH_SIZE:
        # Single objects are the largest and fill a crop alone, so they need to be seen more often.
        level = Level.ONE if rng.random() < 0.6 else several[rng.integers(len(several))]
        scene = sample_scene(rng, level)
        image = render(scene, rng)
        for concept, slot in scene.objects:
            crops.append(cut(image, slot))
            labels.append(CONCEPT_NAMES.index(concept))
        # Looking between the slots, or at half an object, shows nothing in particular.
        x, y = rng.choice((12, 24, 40, 52), size=2).tolist()
        stray = Slot(x, y, LAYOUTS[scene.layout][0].side)
        if all(max(abs(stray.x - s.x), abs(stray.y - s.y)) > 8 for s in LAYOUTS[scene.layout]):
            crops.append(cut(image, stray))
            labels.append(_OTHER)
    batch, targets = torch.stack(crops), torch.tensor(labels)
    # Two objects drawn over each other are no object either.
    for row in rng.choice(len(batch), size=len(batch) // 10, replace=False):
        other = int(rng.integers(len(batch)))
        if targets[other] != targets[row]:
            batch[row] = 0.5 * (batch[row] + batch[other])
            targets[row] = _OTHER
    return _augment(batch, rng), targets


def _augment(batch: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Vary sharpness, contrast and brightness and add noise, image by image."""
    shape = (len(batch), 1, 1, 1)
    blur = torch.from_numpy(rng.uniform(0, 1, shape) * (rng.random(shape) < 0.5)).float()
    batch = torch.lerp(batch, nnf.avg_pool2d(batch, 5, 1, 2, count_include_pad=False), blur)
    contrast = torch.from_numpy(rng.uniform(0.85, 1.15, shape)).float()
    brightness = torch.from_numpy(rng.uniform(-0.08, 0.08, shape)).float()
    strength = torch.from_numpy(rng.uniform(0, 0.06, shape)).float()
    noise = torch.from_numpy(rng.standard_normal(batch.shape, np.float32))
    return ((batch - 0.5) * contrast + 0.5 + brightness + strength * noise).clamp(0, 1)
