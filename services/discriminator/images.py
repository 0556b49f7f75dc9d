"""Images of a request to one array."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from diffserve.core import PROMPT_BYTES_MAX
from diffserve.errors import InputError
from diffserve.rpc.v1 import common_pb2, discriminator_pb2

RAW_MEDIA_TYPE = "image/x-rgb8"
ENCODED_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP"}
SIDE_MAX = 2048
NUM_IMAGES_MAX = 64


def read_images(images: Sequence[discriminator_pb2.ScoredImage]) -> NDArray[np.uint8]:
    """Return the images of a request, (batch, height, width, 3).

    Raises:
        InputError: there are none or too many, one is unreadable, or sizes differ.
    """
    if not 1 <= len(images) <= NUM_IMAGES_MAX:
        raise InputError("images", f"must be 1 to {NUM_IMAGES_MAX}, not {len(images)}")
    if len({scored.HasField("light") for scored in images}) > 1:
        raise InputError("images", "light: must be there in all of them or in none")
    arrays: list[NDArray[np.uint8]] = []
    for index, scored in enumerate(images):
        where = f"images.{index}"
        if len(scored.prompt.encode()) > PROMPT_BYTES_MAX:
            raise InputError(f"{where}.prompt", f"is longer than {PROMPT_BYTES_MAX} bytes")
        arrays.append(_read(f"{where}.image", scored.image))
        if arrays[-1].shape != arrays[0].shape:
            height, width, _ = arrays[-1].shape
            raise InputError(f"{where}.image", f"{width}x{height} differs from the first image")
    return np.stack(arrays)


def _read(where: str, image: common_pb2.Image) -> NDArray[np.uint8]:
    if image.media_type == RAW_MEDIA_TYPE:
        return _read_raw(where, image)
    if image.media_type not in ENCODED_FORMATS:
        known = ", ".join((RAW_MEDIA_TYPE, *ENCODED_FORMATS))
        raise InputError(f"{where}.media_type", f"{image.media_type!r} is none of {known}")
    try:
        with Image.open(
            io.BytesIO(image.data), formats=[ENCODED_FORMATS[image.media_type]]
        ) as opened:
            # Opening reads the header only: a bomb is refused before it is unpacked.
            _check_size(where, *opened.size)
            return np.asarray(opened.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError) as error:
        raise InputError(f"{where}.data", f"is no readable {image.media_type}: {error}") from None


def _read_raw(where: str, image: common_pb2.Image) -> NDArray[np.uint8]:
    _check_size(where, image.width, image.height)
    expected = image.width * image.height * 3
    if len(image.data) != expected:
        raise InputError(f"{where}.data", f"holds {len(image.data)} bytes instead of {expected}")
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)


def _check_size(where: str, width: int, height: int) -> None:
    for name, value in (("width", width), ("height", height)):
        if not 1 <= value <= SIDE_MAX:
            raise InputError(f"{where}.{name}", f"{value} is outside 1..{SIDE_MAX}")
