"""Drawing styles: how the sprites of the atlas are redrawn as pixel art or as ink sketches.

The atlas holds one set of art. The other styles are computed from it, so a model can learn what a
thing looks like once and each style as a way of drawing it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

#: Side of the squares that pixel art is made of, in pixels of the scene.
_MOSAIC_PX = 2
#: Levels per colour channel of pixel art.
_LEVELS = 6
#: Colours of an ink sketch.
_PAPER = np.array((252, 247, 233), np.float32)
_INK = np.array((38, 34, 62), np.float32)

_Floats = NDArray[np.float32]


def draw_sprite(art: Image.Image, style: str, side: int) -> Image.Image:
    """Redraw a sprite in a style at a size.

    Args:
        art: The sprite as it is in the atlas, RGBA.
        style: One of ``STYLES``.
        side: Side of the result, in pixels; even.

    Returns:
        Image of mode "RGBa": colours premultiplied by coverage.
    """
    if style == "pixel":
        return _pixel_art(art, side)
    if style == "sketch":
        return _sketch(art, side)
    return _scale(art, side)


def _scale(art: Image.Image, side: int) -> Image.Image:
    return art.convert("RGBa").resize((side, side), Image.Resampling.LANCZOS)


def _pixel_art(art: Image.Image, side: int) -> Image.Image:
    """Draw with few colours on a coarse grid whose squares are either there or not."""
    cells = side // _MOSAIC_PX
    coarse = art.convert("RGBa").resize((cells, cells), Image.Resampling.BOX).convert("RGBA")
    pixels = np.asarray(coarse).astype(np.float32)
    step = 255 / (_LEVELS - 1)
    colours = (pixels[..., :3] / step).round() * step
    cover = 255.0 * (pixels[..., 3:] >= 110)
    squares = np.concatenate([colours, cover], axis=2).astype(np.uint8)
    grown = squares.repeat(_MOSAIC_PX, axis=0).repeat(_MOSAIC_PX, axis=1)
    return Image.fromarray(grown, "RGBA").convert("RGBa")


def _sketch(art: Image.Image, side: int) -> Image.Image:
    """Draw in ink on paper: shades of one colour, with lines where the art has edges."""
    large = 2 * side
    scaled = _scale(art, large).convert("RGBA")
    on_white = Image.new("RGBA", scaled.size, "white")
    on_white.alpha_composite(scaled)
    shade = _to_float(on_white.convert("L").filter(ImageFilter.GaussianBlur(1.2)))
    cover = _to_float(scaled.getchannel("A"))
    lines = np.maximum(3.5 * _steepness(shade), 2.0 * _steepness(cover)).clip(0, 1)
    tone = np.maximum(0.75 * (1 - shade), lines)[..., None]
    colours = (1 - tone) * _PAPER + tone * _INK
    outside = _to_float(scaled.getchannel("A").filter(ImageFilter.MaxFilter(3)))
    drawn = np.concatenate([colours, 255 * outside[..., None]], axis=2).astype(np.uint8)
    return _scale(Image.fromarray(drawn, "RGBA"), side)


def _steepness(values: _Floats) -> _Floats:
    """Return the length of the gradient of a map (H, W) whose values are in 0..1."""
    down, across = np.gradient(values)
    steepness: _Floats = np.hypot(down, across).astype(np.float32)
    return steepness


def _to_float(image: Image.Image) -> _Floats:
    return np.asarray(image).astype(np.float32) / np.float32(255)
