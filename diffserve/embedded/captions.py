"""Captions: wording scenes exactly, with varied phrasing and synonyms."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from diffserve.embedded.concepts import BACKGROUNDS, CONCEPTS, STYLE_SYNONYMS, STYLES
from diffserve.embedded.scenes import Level, Scene, sample_scene

#: Share of nouns, style and background phrases that a training caption replaces by a synonym.
SYNONYM_SHARE = 0.3
#: Share of captions that leave the style (or the background) open.
OPEN_SHARE = 0.25
#: Share of captions in the plain order "style, objects, background".
PLAIN_SHARE = 0.4

_STYLE_TEMPLATES = (
    "{style} style, {body}",
    "{body}, {style} style",
    "a {style} style picture of {body}",
    "{body} in {style} style",
)
_BACKGROUND_TEMPLATES = (
    "{body}, {background} background",
    "{body} on {a_background} background",
    "{body} with {a_background} background",
    "{body} in front of {a_background} background",
)

#: Wordings of an arrangement; {a} to {d} are its slots in order. The first one is canonical.
_LAYOUT_TEMPLATES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "single": ("{a}",),
        "row": (
            "{a} left of {b}",
            "{a} to the left of {b}",
            "{a} on the left and {b} on the right",
            "{b} right of {a}",
            "{b} to the right of {a}",
            "{a} next to {b}",
            "{a} beside {b}",
            "{a} and {b}",
        ),
        "column": (
            "{a} above {b}",
            "{a} on top of {b}",
            "{a} over {b}",
            "{b} below {a}",
            "{b} under {a}",
            "{b} beneath {a}",
        ),
        "pyramid": (
            "{a} above {b} and {c}",
            "{a} on top of {b} and {c}",
            "{b} and {c} below {a}",
            "{a}, {b} and {c}",
        ),
        "funnel": (
            "{a} and {b} above {c}",
            "{a} and {b} on top of {c}",
            "{c} below {a} and {b}",
        ),
        "grid": (
            "{a} and {b} above {c} and {d}",
            "{a} and {b} on top of {c} and {d}",
            "{c} and {d} below {a} and {b}",
            "{a}, {b}, {c} and {d}",
        ),
    }
)
_NUMBERS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4")}
)
_CONCEPT_BY_NAME = MappingProxyType({concept.name: concept for concept in CONCEPTS})
_BACKGROUND_BY_NAME = MappingProxyType({background.name: background for background in BACKGROUNDS})


@dataclass(frozen=True)
class Prompt:
    """A caption with the scene it describes.

    Attributes:
        text: The caption.
        scene: One scene that answers it.
        names_style: Whether the caption fixes the style; otherwise any style answers it.
        names_background: Whether the caption fixes the background.
    """

    text: str
    scene: Scene
    names_style: bool
    names_background: bool


def sample_prompt(rng: np.random.Generator, level: Level, *, held_out: bool = False) -> Prompt:
    """Draw a scene of ``level`` (see :func:`sample_scene`) and word it with random phrasing."""
    scene = sample_scene(rng, level, held_out=held_out)
    body = _word_objects(scene, rng)
    names_style, names_background = (rng.random(2) >= OPEN_SHARE).tolist()
    is_plain = rng.random() < PLAIN_SHARE
    if names_background:
        background = _word_background(scene.background, rng)
        template = _BACKGROUND_TEMPLATES[0 if is_plain else _pick(rng, _BACKGROUND_TEMPLATES)]
        body = template.format(
            body=body, background=background, a_background=_with_article(background)
        )
    if names_style:
        template = _STYLE_TEMPLATES[0 if is_plain else _pick(rng, _STYLE_TEMPLATES)]
        body = template.format(body=body, style=_word_style(scene.style, rng))
    return Prompt(body, scene, names_style, names_background)


def held_out_prompt(number: int) -> str:
    """Return the text of a numbered prompt, always the same; levels of difficulty take turns."""
    levels = tuple(Level)
    rng = np.random.default_rng(number)
    return sample_prompt(rng, levels[number % len(levels)], held_out=True).text


def plain_caption(scene: Scene) -> str:
    """Word a scene canonically, e.g. "flat style, an owl, sky blue background"."""
    return f"{scene.style} style, {_word_objects(scene, None)}, {scene.background} background"


def vocabulary() -> tuple[str, ...]:
    """Return every word that a caption can contain, sorted."""
    styles = [word for synonyms in STYLE_SYNONYMS.values() for word in synonyms]
    texts = [*STYLES, *styles, "a", "an", *_STYLE_TEMPLATES, *_BACKGROUND_TEMPLATES]
    texts += [template for templates in _LAYOUT_TEMPLATES.values() for template in templates]
    texts += [number for numbers in _NUMBERS.values() for number in numbers]
    for background in BACKGROUNDS:
        texts += [background.name, *background.synonyms]
    for concept in CONCEPTS:
        texts += [concept.name, concept.plural]
        texts += [word for pair in concept.synonyms for word in pair]
    return tuple(sorted({word for text in texts for word in split_words(text)}))


def split_words(text: str) -> list[str]:
    """Split a caption or template into lower-case words, dropping placeholders."""
    return re.findall(r"[a-z0-9]+", re.sub(r"{\w+}", " ", text.lower()))


def _word_objects(scene: Scene, rng: np.random.Generator | None) -> str:
    if scene.level is Level.COUNT:
        return _word_group(scene.concepts[0], len(scene.concepts), rng)
    layout = scene.layout
    groups = [(concept, 1) for concept in scene.concepts]
    if scene.level is Level.GROUP:
        # "Two cats above a dog": a row of equals counts as one thing.
        layout = "column"
        groups = [(name, len(list(same))) for name, same in itertools.groupby(scene.concepts)]
    nouns = [_word_group(name, count, rng) for name, count in groups]
    templates = _LAYOUT_TEMPLATES[layout]
    template = templates[0 if rng is None else _pick(rng, templates)]
    return template.format(**dict(zip("abcd", nouns, strict=False)))


def _word_group(name: str, count: int, rng: np.random.Generator | None) -> str:
    """Word some copies of a concept, e.g. "an owl" or "two owls"."""
    if count == 1:
        return _word_concept(name, rng, plural=False)
    numbers = _NUMBERS[count]
    number = numbers[0 if rng is None else _pick(rng, numbers)]
    return f"{number} {_word_concept(name, rng, plural=True)}"


def _word_concept(name: str, rng: np.random.Generator | None, *, plural: bool) -> str:
    concept = _CONCEPT_BY_NAME[name]
    forms = (concept.name, concept.plural)
    is_synonym = rng is not None and concept.synonyms and rng.random() < SYNONYM_SHARE
    if rng is not None and is_synonym:
        forms = concept.synonyms[_pick(rng, concept.synonyms)]
    if plural:
        return forms[1]
    if not is_synonym and not concept.takes_article:
        return forms[0]
    return _with_article(forms[0])


def _with_article(words: str) -> str:
    is_vowel = words[0] in "aeiou" and not words.startswith("uni")
    return f"{'an' if is_vowel else 'a'} {words}"


def _word_background(name: str, rng: np.random.Generator) -> str:
    synonyms = _BACKGROUND_BY_NAME[name].synonyms
    return synonyms[_pick(rng, synonyms)] if rng.random() < SYNONYM_SHARE else name


def _word_style(name: str, rng: np.random.Generator) -> str:
    synonyms = STYLE_SYNONYMS[name]
    return synonyms[_pick(rng, synonyms)] if rng.random() < SYNONYM_SHARE else name


def _pick(rng: np.random.Generator, options: tuple[object, ...]) -> int:
    return int(rng.integers(len(options)))
