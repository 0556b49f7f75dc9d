"""Layouts: where each concept goes, on the grid the denoiser works on.

A layout says for every cell of a 16x16 grid which concept covers it and which part of that
concept, besides the style and the background. A planner predicts it from the caption, and the
denoiser then only has to draw what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray

from diffserve.embedded.captions import Prompt
from diffserve.embedded.concepts import BACKGROUND_NAMES, CONCEPT_NAMES, STYLES
from diffserve.embedded.scenes import IMAGE_PX, LAYOUTS, Shift

#: Cells per side of a layout map; one cell is 4x4 pixels.
GRID = 16
CELL_PX = IMAGE_PX // GRID
#: Geometry channels: position inside the object (x, y in [-1, 1]) and its side / image side.
GEOMETRY_CHANNELS = 3


@dataclass(frozen=True)
class LayoutTargets:
    """What captions determine, for a batch. Index 0 always means "none" or "left open".

    Attributes:
        concepts: Concept index + 1 of every cell, int64, shape (B, 16, 16).
        geometry: See ``GEOMETRY_CHANNELS``; 0 outside objects. float32, shape (B, 3, 16, 16).
        styles: Style index + 1, int64, shape (B,).
        backgrounds: Background index + 1, int64, shape (B,).
    """

    concepts: torch.Tensor
    geometry: torch.Tensor
    styles: torch.Tensor
    backgrounds: torch.Tensor


@dataclass(frozen=True)
class LayoutPlan:
    """A layout as probabilities; option 0 of each choice means "none" or "left open".

    Attributes:
        concepts: Concept probabilities of every cell, shape (B, 1 + concepts, 16, 16).
        geometry: See ``GEOMETRY_CHANNELS``; counts only as far as a cell is covered. Shape
            (B, 3, 16, 16).
        styles: Style probabilities, shape (B, 1 + styles).
        backgrounds: Background probabilities, shape (B, 1 + backgrounds).
    """

    concepts: torch.Tensor
    geometry: torch.Tensor
    styles: torch.Tensor
    backgrounds: torch.Tensor

    def to(self, device: torch.device) -> LayoutPlan:
        """Return the plan on another device."""
        return LayoutPlan(
            self.concepts.to(device),
            self.geometry.to(device),
            self.styles.to(device),
            self.backgrounds.to(device),
        )


def layout_targets(
    prompts: Sequence[Prompt | None], shifts: Sequence[Sequence[Shift]] | None = None
) -> LayoutTargets:
    """Collect what each caption determines; None is the empty caption, which leaves all open.

    Args:
        prompts: The captions.
        shifts: How far the objects of each scene are shifted, if the positions inside them are to
            tell that, too.
    """
    concepts = np.zeros((len(prompts), GRID, GRID), np.int64)
    geometry = np.zeros((len(prompts), GEOMETRY_CHANNELS, GRID, GRID), np.float32)
    styles = np.zeros(len(prompts), np.int64)
    backgrounds = np.zeros(len(prompts), np.int64)
    for row, prompt in enumerate(prompts):
        if prompt is None:
            continue
        scene = prompt.scene
        slots, geometry[row] = _layout_grid(scene.layout)
        for index, shift in enumerate(shifts[row] if shifts else (), start=1):
            side = LAYOUTS[scene.layout][index - 1].side
            geometry[row, :2, slots == index] -= np.array(shift) / (side / 2)
        ids = np.array([0, *(1 + CONCEPT_NAMES.index(concept) for concept in scene.concepts)])
        concepts[row] = ids[slots]
        if prompt.names_style:
            styles[row] = 1 + STYLES.index(scene.style)
        if prompt.names_background:
            backgrounds[row] = 1 + BACKGROUND_NAMES.index(scene.background)
    return LayoutTargets(
        concepts=torch.from_numpy(concepts),
        geometry=torch.from_numpy(geometry),
        styles=torch.from_numpy(styles),
        backgrounds=torch.from_numpy(backgrounds),
    )


def exact_plan(targets: LayoutTargets) -> LayoutPlan:
    """Return known targets as certainties."""
    return LayoutPlan(
        concepts=_one_hot(targets.concepts, CONCEPT_NAMES).permute(0, 3, 1, 2),
        geometry=targets.geometry,
        styles=_one_hot(targets.styles, STYLES),
        backgrounds=_one_hot(targets.backgrounds, BACKGROUND_NAMES),
    )


def _one_hot(indices: torch.Tensor, names: tuple[str, ...]) -> torch.Tensor:
    return nnf.one_hot(indices, 1 + len(names)).float()


@cache
def _layout_grid(layout: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return per cell the slot index + 1 (0 = free) and the geometry channels of a layout."""
    slots = np.zeros((GRID, GRID), np.int64)
    geometry = np.zeros((GEOMETRY_CHANNELS, GRID, GRID), np.float32)
    centres = (np.arange(GRID) + 0.5) * CELL_PX
    for index, slot in enumerate(LAYOUTS[layout], start=1):
        across, down = ((centres - middle) / (slot.side / 2) for middle in (slot.x, slot.y))
        inside = (np.abs(down) < 1)[:, None] & (np.abs(across) < 1)[None, :]
        slots[inside] = index
        geometry[0][inside] = np.broadcast_to(across[None, :], inside.shape)[inside]
        geometry[1][inside] = np.broadcast_to(down[:, None], inside.shape)[inside]
        geometry[2][inside] = slot.side / IMAGE_PX
    return slots, geometry
