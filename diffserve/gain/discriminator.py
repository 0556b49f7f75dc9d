"""The discriminator of a registry's cascade: predicts what drawing an image again would gain."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from diffserve.errors import ConfigError
from diffserve.gain.clip import Clip, Image
from diffserve.gain.head import GainHead

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"


class GainDiscriminator:
    """Scores images of the light model; the cascade defers those with a low confidence.

    Args:
        head: Trained on a pair of variants.
        clip: The network whose features it was trained on.
    """

    def __init__(self, head: GainHead, clip: Clip) -> None:
        self.head = head
        self._clip = clip

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> GainDiscriminator:
        """Load a head, and the network of its features from the hub or the folder that it names.

        Raises:
            ConfigError: the head or its features cannot be loaded.
        """
        folder = Path(folder)
        try:
            config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
            weights = safetensors.numpy.load_file(folder / WEIGHTS_FILE)["weights"]
            head = GainHead(weights=weights, intercept=config["intercept"], spread=config["spread"])
            source = str(config["features"])
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            raise ConfigError(f"{folder}: no head: {type(error).__name__}: {error}") from None
        local = folder / source
        return cls(head, _shared(str(local.resolve()) if local.is_dir() else source))

    def to(self, device: str) -> None:
        """Move the network of the features; heads over the same one share it."""
        self._clip.to(device)

    def score(self, images: Image, prompts: Sequence[str]) -> NDArray[np.float32]:
        """Return how confident one can be that drawing each image again would not be better.

        Args:
            images: RGB images, uint8, shape (B, H, W, 3).
            prompts: The prompt of each image.

        Returns:
            Confidences in [0, 1], float32, shape (B,); higher means: keep the image.

        Raises:
            ValueError: the shapes do not fit.
        """
        if images.ndim != 4 or images.shape[-1] != 3 or len(images) != len(prompts):
            raise ValueError(
                f"images must be (B, H, W, 3) with one prompt each, got shape {images.shape} "
                f"for {len(prompts)} prompts"
            )
        return self.head.confidences(
            self._clip.images(list(images)), self._clip.texts(list(prompts))
        )


def save_head(head: GainHead, features: str, folder: Path) -> None:
    """Write a head (safetensors) and its settings; the network of its features is only named.

    One that lies in a local folder is named by its way from here, so that both can move together.

    Args:
        head: Trained.
        features: Hub id or folder of that network.
        folder: Gets the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if Path(features).is_dir():
        features = os.path.relpath(Path(features).resolve(), folder.resolve())
    config = {"features": features, "intercept": head.intercept, "spread": head.spread}
    safetensors.numpy.save_file({"weights": head.weights}, folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


@cache
def _shared(source: str) -> Clip:
    """Load a network once: a catalog's heads have the same one, and it is large."""
    return Clip.load(source)
