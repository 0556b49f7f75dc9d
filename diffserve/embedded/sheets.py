"""Contact sheets: many small images on one page, with their captions or without."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from diffserve.embedded.scenes import Array

_COLUMNS = 8
_IMAGE_PX = 96
_CAPTION_PX = 56
_GAP_PX = 8


def save_sheet(images: Array, captions: Sequence[str] | None, path: Path) -> None:
    """Write images (N, H, W, 3) as one PNG, with captions if there are any."""
    rows = -(-len(images) // _COLUMNS)
    cell = (_IMAGE_PX + _GAP_PX, _IMAGE_PX + _GAP_PX + (_CAPTION_PX if captions else 0))
    size = (cell[0] * _COLUMNS + _GAP_PX, cell[1] * rows + _GAP_PX)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    texts = captions or [""] * len(images)
    for index, (image, caption) in enumerate(zip(images, texts, strict=True)):
        left = _GAP_PX + cell[0] * (index % _COLUMNS)
        top = _GAP_PX + cell[1] * (index // _COLUMNS)
        scaled = Image.fromarray(image).resize((_IMAGE_PX, _IMAGE_PX), Image.Resampling.LANCZOS)
        sheet.paste(scaled, (left, top))
        text = "\n".join(textwrap.wrap(caption, 19)[:5])
        pen.multiline_text((left, top + _IMAGE_PX + 2), text, "black", font_size=10, spacing=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)
