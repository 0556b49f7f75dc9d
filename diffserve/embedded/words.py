"""Reading free prompts: mapping words the models were not taught to ones they know."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from diffserve.embedded.captions import split_words
from diffserve.embedded.concepts import CONCEPTS

#: Words shorter than this are not searched for slips of the pen: too much is one letter away.
_TYPO_LENGTH_MIN = 5
#: Words at least this long may have two slips.
_TWO_TYPOS_LENGTH_MIN = 7
#: Plural endings and what they replace.
_ENDINGS = (("ies", "y"), ("ves", "f"), ("es", ""), ("s", ""))


class Reason(Enum):
    """Why one word was read as another."""

    FORM = "form"
    """An unusual form of the same word, such as "cactuses"."""
    ALIAS = "alias"
    """Another word for the same thing, such as "kitty"."""
    RELATED = "related"
    """The nearest thing that the models can draw, such as a tiger for "leopard"."""
    SPELLING = "spelling"
    """A known word that is spelled almost like this one."""


@dataclass(frozen=True)
class Substitution:
    """A word of a prompt that was read as another.

    Attributes:
        word: As in the prompt, in lower case.
        read_as: The known words that took its place.
        reason: Why they did.
    """

    word: str
    read_as: str
    reason: Reason


@dataclass(frozen=True)
class Reading:
    """A prompt as the models understand it.

    Attributes:
        text: The prompt in known words.
        substitutions: Words that were read as others, in order.
        unknown_words: Words that were left out, in order.
    """

    text: str
    substitutions: tuple[Substitution, ...]
    unknown_words: tuple[str, ...]


def read_prompt(prompt: str, known_words: Collection[str]) -> Reading:
    """Rewrite a prompt in known words.

    Args:
        prompt: Any text.
        known_words: The tokenizer's vocabulary.
    """
    kept: list[str] = []
    substitutions: list[Substitution] = []
    unknown: list[str] = []
    for word in split_words(prompt):
        if word in known_words or word == "an":
            kept.append(word)
        elif (substitution := _substitute(word, known_words)) is not None:
            kept.append(substitution.read_as)
            substitutions.append(substitution)
        else:
            unknown.append(word)
    return Reading(" ".join(kept), tuple(substitutions), tuple(unknown))


def _substitute(word: str, known_words: Collection[str]) -> Substitution | None:
    """Find what an unknown word means: another form, another name, something like it, a slip."""
    nouns = _nouns()
    if word in nouns:
        return Substitution(word, *nouns[word])
    for singular in _singulars(word):
        if singular in known_words and singular not in nouns:
            return Substitution(word, singular, Reason.FORM)
        if singular in nouns:
            name, reason = nouns[singular]
            return Substitution(word, _plurals()[name], reason)
    return _spell(word, known_words)


def _spell(word: str, known_words: Collection[str]) -> Substitution | None:
    """Find the known word or name that is spelled most like an unknown one."""
    if len(word) < _TYPO_LENGTH_MIN:
        return None
    limit = 2 if len(word) >= _TWO_TYPOS_LENGTH_MIN else 1
    # The models' own words first, then shorter distances, then the alphabet.
    candidates = [
        (distance, known not in known_words, known)
        for known in (*known_words, *_nouns())
        if len(known) >= _TYPO_LENGTH_MIN - 1
        and (distance := _distance(word, known, limit)) <= limit
    ]
    if not candidates:
        return None
    best = min(candidates)[2]
    read_as = best if best in known_words else _nouns()[best][0]
    return Substitution(word, read_as, Reason.SPELLING)


def _distance(one: str, other: str, limit: int) -> int:
    """Return how many letters to insert, drop, replace or swap; above ``limit``, just more."""
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    before, row = [0] * (len(other) + 1), list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        earlier, before, row = before, row, [i] + [0] * len(other)
        for j, wanted in enumerate(other, start=1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                row[j] = min(row[j], earlier[j - 2] + 1)
        if min(row) > limit:
            return limit + 1
    return row[-1]


def _singulars(word: str) -> Iterable[str]:
    """Return what an English plural may be the plural of."""
    return [
        word.removesuffix(ending) + replacement
        for ending, replacement in _ENDINGS
        if word.endswith(ending)
    ]


@cache
def _nouns() -> Mapping[str, tuple[str, Reason]]:
    """Map single words for things to the concept's name and the reason."""
    related = json.loads((files("diffserve.embedded") / "assets" / "related.json").read_text())
    nouns = {word: (name, Reason.RELATED) for word, name in related.items()}
    for concept in CONCEPTS:
        nouns |= dict.fromkeys(concept.aliases, (concept.name, Reason.ALIAS))
    nouns |= {concept.name: (concept.name, Reason.FORM) for concept in CONCEPTS}
    return MappingProxyType(nouns)


@cache
def _plurals() -> Mapping[str, str]:
    return MappingProxyType({concept.name: concept.plural for concept in CONCEPTS})
