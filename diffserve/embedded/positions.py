"""Where exactly objects sit: in a slot of the layouts, and a little shifted.

Of a caption a planner only derives where things go, and says it roughly, while a render shifts
every object by some pixels that no caption tells. A denoiser that is not told them has to find them
out of the noise, and blurs what it draws until it has.
"""

from __future__ import annotations

import dataclasses
import itertools

import torch
import torch.nn.functional as nnf

from diffserve.embedded.layout import CELL_PX, GRID, LayoutPlan
from diffserve.embedded.scenes import IMAGE_PX, LAYOUTS, Slot

#: Every slot of every layout, once.
SLOTS: tuple[Slot, ...] = tuple(dict.fromkeys(itertools.chain(*LAYOUTS.values())))


def settle(plan: LayoutPlan, noise: torch.Tensor, max_shift_px: int) -> LayoutPlan:
    """Settle where a plan's objects sit: in the slots it comes closest to, shifted by the noise.

    The shifts are read off the noise that an image begins with, so that prompt and noise decide
    about all of the image; they are as uniform as the noise is normal.

    Args:
        plan: A planner's, of B captions.
        noise: Standard normal latents, shape (B, 48, 16, 16).
        max_shift_px: Objects are shifted by up to this many pixels along each axis.

    Returns:
        The plan with another geometry.
    """
    slots = torch.tensor([(s.x, s.y, s.side) for s in SLOTS], device=noise.device).float()
    nearest = _nearest(plan, slots)
    middles, sides = slots[nearest][..., :2], slots[nearest][..., 2:]
    rows = torch.arange(len(noise), device=noise.device)[:, None, None]
    shifts = _shifts(noise, max_shift_px)[rows, nearest]
    positions = (_cell_centres(noise.device) - middles - shifts) / (sides / 2)
    geometry = torch.cat([positions, sides / IMAGE_PX], dim=-1).permute(0, 3, 1, 2)
    return dataclasses.replace(plan, geometry=geometry.to(plan.geometry.dtype))


def _nearest(plan: LayoutPlan, slots: torch.Tensor) -> torch.Tensor:
    """Return for every cell the index of the slot it seems to belong to, shape (B, 16, 16)."""
    geometry, covered = plan.geometry.float(), 1 - plan.concepts[:, :1].float()
    sides = geometry[:, 2:] * IMAGE_PX
    centres = _cell_centres(geometry.device).permute(2, 0, 1)
    seen = torch.cat([centres - geometry[:, :2] * sides / 2, sides], dim=1)
    # Cells beside each other are of one object, or else one of them is free: objects lie apart.
    shares = nnf.avg_pool2d(covered, 3, stride=1, padding=1).clamp(min=1e-6)
    seen = nnf.avg_pool2d(covered * seen, 3, stride=1, padding=1) / shares
    distances: torch.Tensor = (seen.permute(0, 2, 3, 1)[..., None, :] - slots).square().sum(dim=-1)
    return distances.argmin(dim=-1)


def _shifts(noise: torch.Tensor, max_shift_px: int) -> torch.Tensor:
    """Return how far whatever sits in each slot is shifted, in whole pixels, (B, slots, 2)."""
    down = torch.tensor([slot.y // CELL_PX for slot in SLOTS])
    across = torch.tensor([slot.x // CELL_PX for slot in SLOTS])
    drawn: torch.Tensor = torch.special.ndtr(noise[:, :2, down, across].float()).transpose(1, 2)
    count = 2 * max_shift_px + 1
    return (drawn * count).floor().clamp(max=count - 1) - max_shift_px


def _cell_centres(device: torch.device) -> torch.Tensor:
    """Return x and y of every cell's centre in pixels, shape (16, 16, 2)."""
    centres = (torch.arange(GRID, device=device) + 0.5) * CELL_PX
    down, across = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([across, down], dim=-1)
