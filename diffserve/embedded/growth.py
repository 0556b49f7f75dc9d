"""Growing a trained U-Net: a wider one begins with what the narrower one has learnt.

Every new channel begins as a copy of an old one, and what reads it divides by the number of copies,
so that the wide network says nearly what the narrow one said; after Chen et al., "Net2Net" (2016).
Nearly, for a normalised group holds some channels more often than others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as nnf
from diffusers import UNet2DConditionModel

#: Of the noise by which copies differ, else they would learn the same; in the weight's own.
COPY_NOISE = 0.1
_FIT_STEPS = 600
_FIT_BATCH = 256
_FIT_RATE = 2e-3


def grow(
    small: UNet2DConditionModel, large: UNet2DConditionModel, generator: torch.Generator
) -> None:
    """Give a U-Net of the same architecture, but wider, the knowledge of a trained one.

    Args:
        small: Trained; no attention, scale-and-shift time embedding.
        large: Changed in place; outputs that only it has stay as they are.
        generator: Draws the noise that tells copies apart.

    Raises:
        ValueError: They differ in more than their widths.
    """
    old, new = small.state_dict(), large.state_dict()
    if old.keys() != new.keys():
        raise ValueError("small and large must have the same blocks")
    wiring = _Wiring(small, large)
    for name, weight in new.items():
        if not name.startswith("time_embedding"):
            new[name] = _grown(old[name], weight, *wiring.copies(name), generator)
    large.load_state_dict(new)
    _fit_time_embedding(small, large, wiring.time, generator)


class _Wiring:
    """Which old channel every new one copies, for the inputs and outputs of every weight."""

    def __init__(self, small: UNet2DConditionModel, large: UNet2DConditionModel) -> None:
        self._groups = small.config.norm_num_groups
        self._old = tuple(small.config.block_out_channels)
        self._new = tuple(large.config.block_out_channels)
        self._num_layers = small.config.layers_per_block
        num_old, num_new = (unet.time_embedding.linear_2.out_features for unet in (small, large))
        self.time = torch.arange(num_new) % num_old

    def copies(self, name: str) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Return the copied channels of a weight's outputs and inputs; None: all, in order."""
        inputs, outputs = self._levels(name)
        module = name.split(".")[-2]
        if module in ("norm1", "conv_norm_out"):
            return self._channels(inputs), None
        if module == "time_emb_proj":  # scales, then shifts
            scales = self._channels(outputs)
            return torch.cat([scales, scales + self._old[outputs[0]]]), self.time
        if module in ("norm2", "conv2"):
            inputs = outputs
        return (
            self._channels(outputs) if outputs else None,
            self._channels(inputs) if inputs else None,
        )

    def _levels(self, name: str) -> tuple[Sequence[int], Sequence[int]]:
        """Return the resolution levels whose channels a block reads, in order, and writes."""
        parts, last = name.split("."), len(self._old) - 1
        block, index = parts[0], int(parts[1]) if parts[1].isdigit() else 0
        layer = int(parts[3]) if len(parts) > 3 and parts[3].isdigit() else 0
        if block == "conv_in":
            return (), (0,)
        if block in ("conv_norm_out", "conv_out"):
            return (0,), ()
        if block == "mid_block":
            return (last,), (last,)
        if block == "down_blocks":
            is_first = parts[2] == "resnets" and layer == 0
            return (max(index - 1, 0) if is_first else index,), (index,)
        own = last - index
        if parts[2] != "resnets":
            return (own,), (own,)
        below = min(own + 1, last) if layer == 0 else own
        skipped = max(own - 1, 0) if layer == self._num_layers else own
        return (below, skipped), (own,)

    def _channels(self, levels: Sequence[int]) -> torch.Tensor:
        """Return the old channel behind every new one of concatenated levels."""
        copies, offset = [], 0
        for level in levels:
            copies.append(offset + self._copied(level))
            offset += self._old[level]
        return torch.cat(copies)

    def _copied(self, level: int) -> torch.Tensor:
        old, new = self._old[level] // self._groups, self._new[level] // self._groups
        groups = range(self._groups)
        return torch.tensor([g * old + channel % old for g in groups for channel in range(new)])


def _grown(
    old: torch.Tensor,
    new: torch.Tensor,
    outputs: torch.Tensor | None,
    inputs: torch.Tensor | None,
    generator: torch.Generator,
) -> torch.Tensor:
    weight: torch.Tensor = old if outputs is None else old[outputs]
    if inputs is not None and weight.ndim > 1:
        counts = torch.bincount(inputs, minlength=old.shape[1])[inputs]
        weight = weight[:, inputs] / counts.reshape(1, -1, *[1] * (weight.ndim - 2))
    if weight.shape[1:] != new.shape[1:] or len(weight) > len(new):
        raise ValueError("small and large must differ in their widths only")
    if weight.ndim > 1 and weight.shape != old.shape:
        noise = torch.randn(weight.shape, generator=generator)
        weight = weight + COPY_NOISE * weight.std() * noise
    return torch.cat([weight, new[len(weight) :]])


def _fit_time_embedding(
    small: UNet2DConditionModel,
    large: UNet2DConditionModel,
    copies: torch.Tensor,
    generator: torch.Generator,
) -> None:
    """Teach the wide time embedding to say what the narrow one says: its sinusoids are others."""
    optimizer = torch.optim.Adam(large.time_embedding.parameters(), lr=_FIT_RATE)
    for _ in range(_FIT_STEPS):
        timesteps = 1000 * torch.rand(_FIT_BATCH, generator=generator)
        with torch.no_grad():
            wanted = small.time_embedding(small.time_proj(timesteps))[:, copies]
        loss = nnf.mse_loss(large.time_embedding(large.time_proj(timesteps)), wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
