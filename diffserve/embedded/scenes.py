"""Procedural scenes: what they contain, how they are sampled and how they are rendered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffserve.embedded.concepts import (
    BACKGROUND_NAMES,
    BACKGROUNDS,
    CONCEPT_NAMES,
    HORIZON,
    STYLES,
)
from diffserve.embedded.styles import draw_sprite

#: Side of a rendered scene, in pixels.
IMAGE_PX = 64
#: Each object is shifted by up to this many pixels along each axis.
JITTER_PX = 2
#: Share of the multi-object combinations that training never sees.
HELD_OUT_SHARE = 0.1

Array = NDArray[np.uint8]
#: How far an object sits from the centre of its slot, right and down, in pixels.
Shift = tuple[int, int]


class Level(Enum):
    """Difficulty of a scene, from one object to four different ones."""

    ONE = "one"
    TWO = "two"
    COUNT = "count"
    GROUP = "group"
    THREE = "three"
    FOUR = "four"


@dataclass(frozen=True)
class Slot:
    """A square region that one object fills: centre and side, in pixels."""

    x: int
    y: int
    side: int


_CENTRE = Slot(32, 32, 44)
_LEFT, _RIGHT, _TOP, _BOTTOM = (Slot(x, y, 28) for x, y in ((16, 32), (48, 32), (32, 16), (32, 48)))
_TOP_LEFT, _TOP_RIGHT, _BOTTOM_LEFT, _BOTTOM_RIGHT = (
    Slot(x, y, 28) for y in (16, 48) for x in (16, 48)
)

#: Arrangements by name; concepts of a scene fill the slots in this order.
LAYOUTS: Mapping[str, tuple[Slot, ...]] = MappingProxyType(
    {
        "single": (_CENTRE,),
        "row": (_LEFT, _RIGHT),
        "column": (_TOP, _BOTTOM),
        "pyramid": (_TOP, _BOTTOM_LEFT, _BOTTOM_RIGHT),
        "funnel": (_TOP_LEFT, _TOP_RIGHT, _BOTTOM),
        "grid": (_TOP_LEFT, _TOP_RIGHT, _BOTTOM_LEFT, _BOTTOM_RIGHT),
    }
)

#: The fixed arrangement of "two owls", "three owls" and "four owls".
COUNT_LAYOUTS: Mapping[int, str] = MappingProxyType({2: "row", 3: "pyramid", 4: "grid"})

#: Which concept fills each slot, as indices into the concepts that are drawn at random.
_LEVEL_FILLINGS: Mapping[Level, tuple[tuple[str, tuple[int, ...]], ...]] = MappingProxyType(
    {
        Level.ONE: (("single", (0,)),),
        Level.TWO: (("row", (0, 1)), ("column", (0, 1))),
        Level.COUNT: (("row", (0, 0)), ("pyramid", (0, 0, 0)), ("grid", (0, 0, 0, 0))),
        Level.GROUP: (("funnel", (0, 0, 1)), ("pyramid", (0, 1, 1)), ("grid", (0, 0, 1, 1))),
        Level.THREE: (("pyramid", (0, 1, 2)), ("funnel", (0, 1, 2))),
        Level.FOUR: (("grid", (0, 1, 2, 3)),),
    }
)


@dataclass(frozen=True)
class Scene:
    """A picture in words: which concepts, where, in which style, before which background.

    Attributes:
        style: One of ``STYLES``.
        background: One of ``BACKGROUND_NAMES``.
        layout: A key of ``LAYOUTS``.
        concepts: One concept name per slot of the layout.
    """

    style: str
    background: str
    layout: str
    concepts: tuple[str, ...]

    @property
    def objects(self) -> tuple[tuple[str, Slot], ...]:
        """Every concept with the slot it fills."""
        return tuple(zip(self.concepts, LAYOUTS[self.layout], strict=True))

    @property
    def level(self) -> Level:
        """The difficulty level the scene belongs to."""
        num_different = len(set(self.concepts))
        if len(self.concepts) == 1:
            return Level.ONE
        if num_different == 1:
            return Level.COUNT
        if num_different < len(self.concepts):
            return Level.GROUP
        return {2: Level.TWO, 3: Level.THREE, 4: Level.FOUR}[num_different]

    @property
    def is_held_out(self) -> bool:
        """Whether the combination of concepts and layout is reserved for evaluation."""
        return is_held_out(self.layout, self.concepts)


def is_held_out(layout: str, concepts: tuple[str, ...]) -> bool:
    """Return whether a combination is reserved for evaluation, by a stable hash.

    The key is the arrangement, not its wording, so "a cat left of a dog" and "a dog right of a
    cat" are on the same side of the split. Single objects are never held out.
    """
    if len(concepts) == 1:
        return False
    key = f"{layout}:{'+'.join(concepts)}".encode()
    bucket = int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "big")
    return bucket < HELD_OUT_SHARE * 2**32


def sample_scene(rng: np.random.Generator, level: Level, *, held_out: bool = False) -> Scene:
    """Draw a scene uniformly from one side of the split.

    Args:
        rng: Source of randomness.
        level: Difficulty of the scene.
        held_out: Draw from the combinations reserved for evaluation; ignored for ``Level.ONE``.

    Returns:
        The scene.
    """
    fillings = _LEVEL_FILLINGS[level]
    while True:
        layout, filling = fillings[rng.integers(len(fillings))]
        picks = rng.choice(len(CONCEPT_NAMES), size=1 + max(filling), replace=False)
        concepts = tuple(CONCEPT_NAMES[picks[index]] for index in filling)
        if level is Level.ONE or is_held_out(layout, concepts) is held_out:
            break
    return Scene(
        style=STYLES[rng.integers(len(STYLES))],
        background=BACKGROUND_NAMES[rng.integers(len(BACKGROUND_NAMES))],
        layout=layout,
        concepts=concepts,
    )


def sample_shifts(scene: Scene, rng: np.random.Generator) -> list[Shift]:
    """Draw for every object of a scene how far it is shifted, by up to ``JITTER_PX``."""
    bounds = -JITTER_PX, JITTER_PX + 1
    return [(int(dx), int(dy)) for dx, dy in rng.integers(*bounds, size=(len(scene.concepts), 2))]


def render(scene: Scene, rng: np.random.Generator | None = None) -> Array:
    """Draw a scene.

    Args:
        scene: What to draw.
        rng: Shifts every object by up to ``JITTER_PX``; without it objects sit at slot centres,
            which is the *reference render* of the scene.

    Returns:
        RGB image, shape (64, 64, 3).
    """
    shifts = [(0, 0)] * len(scene.concepts) if rng is None else sample_shifts(scene, rng)
    return render_shifted(scene, shifts)


def render_shifted(scene: Scene, shifts: Sequence[Shift]) -> Array:
    """Draw a scene whose objects, one by one, are shifted as said."""
    image = backdrop(scene.background).copy()
    for (concept, slot), (dx, dy) in zip(scene.objects, shifts, strict=True):
        colour, cover = sprite(scene.style, concept, slot.side)
        x, y = slot.x - slot.side // 2 + dx, slot.y - slot.side // 2 + dy
        region = image[y : y + slot.side, x : x + slot.side]
        region[:] = colour + (region * (255 - cover.astype(np.uint16)) // 255).astype(np.uint8)
    return image


@cache
def backdrop(background: str) -> Array:
    """Return the RGB backdrop of a background, shape (64, 64, 3), read-only."""
    spec = BACKGROUNDS[BACKGROUND_NAMES.index(background)]
    ramp = np.linspace(0.0, 1.0, IMAGE_PX)[:, None]
    rows = (1 - ramp) * np.array(spec.top) + ramp * np.array(spec.bottom)
    if spec.ground is not None:
        rows[round(HORIZON * IMAGE_PX) :] = spec.ground
    image = np.repeat(rows.round().astype(np.uint8)[:, None], IMAGE_PX, axis=1)
    image.flags.writeable = False
    return image


@cache
def sprite(style: str, concept: str, side: int) -> tuple[Array, Array]:
    """Return a sprite drawn in a style, ``side`` pixels wide.

    Returns:
        Colour premultiplied by coverage, shape (side, side, 3), and coverage in 0..255, shape
        (side, side, 1).
    """
    atlas, cell_px = _atlas()
    row = CONCEPT_NAMES.index(concept)
    art = atlas.crop((0, row * cell_px, cell_px, (row + 1) * cell_px))
    drawn = draw_sprite(art, style, side)
    pixels = np.frombuffer(drawn.tobytes(), np.uint8).reshape(side, side, 4)
    # Resampling can overshoot by a few levels, but no premultiplied colour exceeds its coverage.
    return np.minimum(pixels[..., :3], pixels[..., 3:]), pixels[..., 3:]


@cache
def _atlas() -> tuple[Image.Image, int]:
    """Load the sprite atlas and the side of its cells, in pixels."""
    assets = files("diffserve.embedded") / "assets"
    index = json.loads((assets / "atlas.json").read_text())
    if tuple(index["concepts"]) != CONCEPT_NAMES:
        raise ValueError("assets/atlas.json does not match concepts.py: run scripts/build_atlas.py")
    with (assets / "atlas.webp").open("rb") as stream:
        return Image.open(stream).convert("RGBA"), index["cell_px"]
