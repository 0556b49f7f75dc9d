"""Draw the README's picture: prompts by the light, by the heavy model and as the cascade answers.

Usage: while `make serve` runs, .venv/bin/diffserve threshold pin 0.5, since a deployment that idles
defers nearly everything; some seconds later .venv/bin/python scripts/draw_cascade.py OUT.png. Times
are what the devices took, as the load balancer tells.
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
    "flat style, an owl, sky blue background",
    "pixel style, a rocket, night background",
    "a cat left of a car, green meadow background",
    "three apples, sunset background",
    "sketch style, a dog above a tree",
    "a fox, a pizza and an umbrella, beach background",
)
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
        for column, prompt in enumerate(PROMPTS):
            left = LEFT_PX + column * (SIDE_PX + GAP_PX)
            words = "\n".join(textwrap.wrap(prompt, 22))
            pen.multiline_text((left, 2), words, "black", font_size=11, spacing=1)
            for row, preference in enumerate(ROWS.values()):
                top = TOP_PX + row * (SIDE_PX + TEXT_PX + GAP_PX)
                answer = client.generate(prompt, seed=column, preference=preference)
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
