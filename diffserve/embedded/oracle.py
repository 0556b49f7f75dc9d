"""A judge that nothing has learned: it recognises drawn objects by comparing with the sprites."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from diffserve.embedded.captions import Prompt
from diffserve.embedded.concepts import BACKGROUND_NAMES, CONCEPT_NAMES, STYLES
from diffserve.embedded.scenes import IMAGE_PX, JITTER_PX, LAYOUTS, Array, Slot, backdrop, sprite

#: A slot that differs from its best sprite by more than this (root mean square, in 0..1) is
#: not accepted as a drawing of anything.
ERROR_MAX = 0.28
#: The best sprite must be clearly better than any other concept's: a mixture of two is neither.
RIVAL_SHARE_MAX = 0.95

_SHIFTS_PX = range(-JITTER_PX, JITTER_PX + 1)
_Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Sighting:
    """The sprite that a slot resembles most.

    Attributes:
        style: Style of that sprite.
        concept: Concept of that sprite.
        error: Root mean square difference to it over the slot, in 0..1.
        rival_error: The same to the best sprite of any other concept.
    """

    style: str
    concept: str
    error: float
    rival_error: float

    @property
    def is_clear(self) -> bool:
        """Whether the slot shows that concept well enough, and no other."""
        return self.error <= min(ERROR_MAX, RIVAL_SHARE_MAX * self.rival_error)


def is_right(image: Array, prompt: Prompt) -> bool:
    """Return whether an image (64, 64, 3) shows what the prompt asks for.

    Every slot must show the right concept well enough, and the style and the background must be
    the ones that the prompt names, if it does.
    """
    scene = prompt.scene
    background = find_background(image, scene.layout)
    if prompt.names_background and background != scene.background:
        return False
    for concept, slot in scene.objects:
        seen = look_at(image, slot, background)
        is_style_right = not prompt.names_style or seen.style == scene.style
        if seen.concept != concept or not seen.is_clear or not is_style_right:
            return False
    return True


def shows_objects(image: Array, prompt: Prompt) -> bool:
    """Return whether the slots of an image (64, 64, 3) look most like the prompt's concepts.

    This is the milder question: neither the style nor the background counts, and an object may be
    drawn carelessly.
    """
    scene = prompt.scene
    background = find_background(image, scene.layout)
    sightings = [(concept, look_at(image, slot, background)) for concept, slot in scene.objects]
    return all(seen.concept == concept and seen.error <= ERROR_MAX for concept, seen in sightings)


def find_background(image: Array, layout: str) -> str:
    """Return the name of the background that fits best between the slots of a layout."""
    is_free = np.ones((IMAGE_PX, IMAGE_PX), bool)
    for slot in LAYOUTS[layout]:
        is_free[_window(slot)] = False
    errors = [
        np.median(np.abs(image[is_free].astype(np.int16) - backdrop(name)[is_free]))
        for name in BACKGROUND_NAMES
    ]
    return BACKGROUND_NAMES[int(np.argmin(errors))]


def look_at(image: Array, slot: Slot, background: str) -> Sighting:
    """Find the sprite that fits best into a slot, shifted by up to ``JITTER_PX``."""
    behind = backdrop(background).astype(np.float32) / 255
    difference = np.pad(
        image.astype(np.float32) / 255 - behind, [(JITTER_PX, JITTER_PX)] * 2 + [(0, 0)]
    )
    rows, columns = _window(slot)
    views = np.stack(
        [
            difference[
                rows.start + JITTER_PX + dy : rows.stop + JITTER_PX + dy,
                columns.start + JITTER_PX + dx : columns.stop + JITTER_PX + dx,
            ].ravel()
            for dy in _SHIFTS_PX
            for dx in _SHIFTS_PX
        ]
    )
    added, lengths = _additions(slot, background)
    squares = (views**2).sum(1)[:, None] + lengths[None] - 2 * views @ added.T
    mean_squares = squares.min(axis=0).clip(0) / added.shape[1]
    errors = np.sqrt(mean_squares).reshape(len(STYLES), len(CONCEPT_NAMES))
    by_concept = errors.min(axis=0)
    best, rival = np.argsort(by_concept)[:2].tolist()
    return Sighting(
        style=STYLES[int(errors[:, best].argmin())],
        concept=CONCEPT_NAMES[best],
        error=float(by_concept[best]),
        rival_error=float(by_concept[rival]),
    )


@lru_cache(maxsize=len(BACKGROUND_NAMES) * len(set(itertools.chain(*LAYOUTS.values()))))
def _additions(slot: Slot, background: str) -> tuple[_Floats, _Floats]:
    """Return what each sprite adds to a backdrop, flat, and the squared length of that.

    It is the sprite's colour minus the part of the backdrop that it hides.
    """
    behind = backdrop(background)[_window(slot)].astype(np.float32) / np.float32(255)
    colours, covers = _sprites(slot.side)
    added = (colours - covers * behind).reshape(len(colours), -1)
    return added, (added**2).sum(axis=1)


def _window(slot: Slot) -> tuple[slice, slice]:
    """Return the rows and columns of a slot."""
    top, left = slot.y - slot.side // 2, slot.x - slot.side // 2
    return slice(top, top + slot.side), slice(left, left + slot.side)


@cache
def _sprites(side: int) -> tuple[_Floats, _Floats]:
    """Return all sprites, style by style: premultiplied colour and coverage, both in 0..1."""
    pairs = [sprite(style, concept, side) for style in STYLES for concept in CONCEPT_NAMES]
    colours = np.stack([colour for colour, _ in pairs]).astype(np.float32)
    covers = np.stack([cover for _, cover in pairs]).astype(np.float32)
    return colours / np.float32(255), covers / np.float32(255)
