"""Draw the README's picture from a running deployment: the same prompts, light, heavy and cascade.

Usage: python scripts/cascade_picture.py [HOST:PORT] [FILE.png]
"""

from __future__ import annotations

import io
import sys
import textwrap
from pathlib import Path

import grpc
from PIL import Image, ImageDraw, ImageFont

from diffserve.rpc.v1 import common_pb2, generation_pb2, generation_pb2_grpc

PROMPTS = (
    "flat style, an owl, sky blue background",
    "a rocket, night background",
    "a cat left of a car, green meadow background",
    "three apples, sunset background",
    "a dog above a tree and a fish",
    "a fox next to a pizza",
)
ROWS = (
    ("light", common_pb2.PREFERENCE_LIGHT),
    ("heavy", common_pb2.PREFERENCE_HEAVY),
    ("cascade", common_pb2.PREFERENCE_AUTO),
)
SIDE, LEFT, CAPTION = 128, 72, 44
SEED = 11


def main(address: str = "127.0.0.1:50051", file: str = "docs/images/cascade.png") -> None:
    """Ask for every prompt three times with one seed, and paste the answers into a table."""
    sheet = Image.new("RGB", (LEFT + SIDE * len(PROMPTS), CAPTION + (SIDE + 18) * 3), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for column, prompt in enumerate(PROMPTS):
        text = "\n".join(textwrap.wrap(prompt, 22))
        pen.multiline_text((LEFT + column * SIDE + 3, 2), text, "black", font)
    with grpc.insecure_channel(address) as channel:
        door = generation_pb2_grpc.ImageGenerationStub(channel)
        for row, (name, preference) in enumerate(ROWS):
            top = CAPTION + row * (SIDE + 18)
            pen.text((4, top + SIDE // 2), name, "black", ImageFont.load_default(15))
            for column, prompt in enumerate(PROMPTS):
                answer = ask(door, prompt, preference)
                image = Image.open(io.BytesIO(answer.image.data)).convert("RGB")
                left = LEFT + column * SIDE
                sheet.paste(
                    image.resize((SIDE - 4, SIDE - 4), Image.Resampling.LANCZOS), (left, top)
                )
                label = f"{answer.times.total_s * 1000:.0f} ms"
                if name == "cascade":
                    label = f"{answer.variant_id.removeprefix('sprite-')}, {label}"
                pen.text((left + 2, top + SIDE - 3), label, "black", font)
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    sheet.save(file, optimize=True)


def ask(
    door: generation_pb2_grpc.ImageGenerationStub,
    prompt: str,
    preference: common_pb2.Preference.ValueType,
) -> generation_pb2.GenerateResponse:
    """Return the answer to one prompt."""
    parameters = common_pb2.GenerationParameters(prompt=prompt, seed=SEED)
    request = generation_pb2.GenerateRequest(parameters=parameters, preference=preference)
    return door.Generate(request, timeout=60)


if __name__ == "__main__":
    main(*sys.argv[1:])
