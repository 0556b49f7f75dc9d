"""Draw the README's picture: prompts by the light, by the heavy model and as the cascade answers.

Usage: while `make serve` runs, .venv/bin/diffserve threshold pin 0.5, since a deployment that idles
defers most; some seconds later .venv/bin/python scripts/draw_cascade.py OUT.png. Times are what the
devices took, as the load balancer tells.
"""

from __future__ import annotations

import io
import sys
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw

from diffserve.client import Client
from diffserve.client.values import GeneratedImage
from diffserve.core import Preference

PROMPTS = (
    ("flat style, an owl, sky blue background", 0),
    ("a helicopter right of a giraffe", 58),
    ("pixel style, a rocket, night background", 1),
    ("a red balloon and a snake", 2035),
    ("a fox, a pizza and an umbrella, beach background", 5),
    ("four snakes, sunset background", 7),
)
"""Prompts with seeds. Every second one is of the evaluation, chosen because the light model of an
idle deployment errs on it and the heavy one does not: so it is with about 4 % of them."""
ROWS = {"light": Preference.LIGHT, "heavy": Preference.HEAVY, "cascade": Preference.AUTO}
SIDE_PX, GAP_PX, LEFT_PX, TOP_PX, TEXT_PX = 124, 4, 72, 44, 18


def main(path: str) -> None:
    """Draw every prompt three times and put the answers together."""
    width = LEFT_PX + len(PROMPTS) * (SIDE_PX + GAP_PX)
    height = TOP_PX + len(ROWS) * (SIDE_PX + TEXT_PX + GAP_PX)
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    for row, name in enumerate(ROWS):
        top = TOP_PX + row * (SIDE_PX + TEXT_PX + GAP_PX)
        pen.text((4, top + SIDE_PX // 2), name, "black", font_size=14)
    with Client() as client:
        for column, (prompt, seed) in enumerate(PROMPTS):
            left = LEFT_PX + column * (SIDE_PX + GAP_PX)
            words = "\n".join(textwrap.wrap(prompt, 22))
            pen.multiline_text((left, 2), words, "black", font_size=11, spacing=1)
            for row, preference in enumerate(ROWS.values()):
                top = TOP_PX + row * (SIDE_PX + TEXT_PX + GAP_PX)
                answer = client.generate(prompt, seed=seed, preference=preference)
                with Image.open(io.BytesIO(answer.data)) as image:
                    drawn = image.convert("RGB").resize(
                        (SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS
                    )
                sheet.paste(drawn, (left, top))
                pen.text((left + 2, top + SIDE_PX + 2), told(answer), "black", font_size=11)
    sheet.save(Path(path), optimize=True)


def told(answer: GeneratedImage) -> str:
    """Say which model drew an image and how long devices were busy with it."""
    stages = ("light_execution", "heavy_execution")
    device_s = sum(answer.stage_s.get(stage, 0.0) for stage in stages)
    return f"{answer.variant.removeprefix('sprite-')}, {1e3 * device_s:.0f} ms"


if __name__ == "__main__":
    main(sys.argv[1])
