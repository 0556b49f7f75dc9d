"""The optional safety stage: looks at every image before it leaves the device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

from diffserve.core import Variant
from diffserve.errors import BackendError, ConfigError
from services.worker.backends.base import Pixels

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training images, per channel of RGB."""
WITHHELD = "withheld: the safety checker found content that it does not allow; try another prompt"


class SafetyChecker:
    """Stable Diffusion's checker, which compares CLIP embeddings with those of 17 concepts.

    A flagged image is withheld with a reason, never replaced by a black one without a word.
    """

    def __init__(self, variant: Variant, device: str) -> None:
        """Load the checker of a variant.

        Raises:
            ConfigError: it cannot be loaded; names the field.
        """
        source = Path(variant.safety_checker)
        nested = source / "safety_checker"
        where = f"variant.{variant.variant_id}.safety_checker: {variant.safety_checker}"
        try:
            self._model, loaded = StableDiffusionSafetyChecker.from_pretrained(
                str(nested if nested.is_dir() else variant.safety_checker),
                local_files_only=source.is_dir(),
                use_safetensors=True,
                output_loading_info=True,
            )
        except Exception as error:
            text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise ConfigError(f"{where}: {text}") from None
        # Another network of CLIP's kind loads too, and would pass every image.
        if lacking := sorted(loaded["missing_keys"]):
            raise ConfigError(f"{where} is no safety checker: it lacks {lacking[0]}")
        self._model.eval().to(device)

    def withhold(self, images: Sequence[Pixels]) -> list[Pixels | BackendError]:
        """Return the images, a reason in place of each one that is flagged."""
        flagged = self._flags(images)
        return [
            BackendError(WITHHELD) if is_flagged else image
            for image, is_flagged in zip(images, flagged, strict=True)
        ]

    @torch.no_grad()
    def _flags(self, images: Sequence[Pixels]) -> list[bool]:
        stacked = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
        values = stacked.permute(0, 3, 1, 2).float()
        if stacked.dtype == torch.uint8:
            values /= 255.0
        side: Any = self._model.config.vision_config.image_size
        values = torch.nn.functional.interpolate(
            values, size=(side, side), mode="bicubic", antialias=True
        ).clamp(0.0, 1.0)
        mean, std = (torch.tensor(of).view(1, 3, 1, 1) for of in (MEAN, STD))
        seen = ((values - mean) / std).to(self._model.device, self._model.dtype)
        # It blackens what it is given beside; that is none of our images.
        _, flags = self._model(clip_input=seen, images=np.zeros((len(images), 1, 1, 3)))
        return [bool(flag) for flag in flags]
