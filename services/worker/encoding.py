"""Pixels to encoded images, and to the small copies that the discriminator sees."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffserve.errors import BackendError
from services.worker.backends.base import NOT_FINITE, Pixels

SCORED_SIDE_MAX = 256
"""Discriminators look at 256 pixels or fewer; larger copies would only cost bandwidth."""

# PNG at level 3 is about three times as fast as the default and a few per cent larger.
_OPTIONS: dict[str, dict[str, int]] = {
    "image/png": {"compress_level": 3},
    "image/jpeg": {"quality": 92},
    "image/webp": {"quality": 92, "method": 2},
}


def to_bytes(pixels: Pixels) -> NDArray[np.uint8]:
    """Return an image as uint8, (height, width, 3).

    Raises:
        BackendError: it holds NaN or infinite values.
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if not np.isfinite(pixels).all():
        raise BackendError(NOT_FINITE)
    return (pixels.clip(0.0, 1.0) * 255.0).round().astype(np.uint8)


def encode(pixels: NDArray[np.uint8], media_type: str) -> bytes:
    """Return an image encoded as PNG, JPEG or WebP."""
    buffer = io.BytesIO()
    name = media_type.removeprefix("image/")
    Image.fromarray(pixels).save(buffer, name, **_OPTIONS[media_type])
    return buffer.getvalue()


def shrink(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image of at most ``SCORED_SIDE_MAX`` pixels on the long side."""
    height, width, _ = pixels.shape
    factor = SCORED_SIDE_MAX / max(height, width)
    if factor >= 1.0:
        return pixels
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
