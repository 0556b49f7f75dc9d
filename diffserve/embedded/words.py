"""Reading free prompts: mapping words the models were not taught to ones they know."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from types import MappingProxyType

from diffserve.embedded.captions import split_words
from diffserve.embedded.concepts import CONCEPTS


def read_prompt(prompt: str, known_words: Collection[str]) -> tuple[str, list[str]]:
    """Rewrite a prompt in known words.

    Unknown words that name a known concept (an alias such as "kitty", or an unusual plural)
    become that concept; the others are left out.

    Args:
        prompt: Any text.
        known_words: The tokenizer's vocabulary.

    Returns:
        The rewritten prompt, and the words that were left out, in order.
    """
    kept, unknown = [], []
    for word in split_words(prompt):
        known = word if word in known_words or word == "an" else _nearest(word, known_words)
        if known is None:
            unknown.append(word)
        else:
            kept.append(known)
    return " ".join(kept), unknown


def _nearest(word: str, known_words: Collection[str]) -> str | None:
    nouns = _nouns()
    if word in nouns:
        return nouns[word][0]
    for ending, replacement in (("ies", "y"), ("es", ""), ("s", "")):
        if not word.endswith(ending):
            continue
        singular = word.removesuffix(ending) + replacement
        if singular in nouns:
            return nouns[singular][1]
        if singular in known_words:
            return singular
    return None


@cache
def _nouns() -> Mapping[str, tuple[str, str]]:
    """Map every name and alias of a concept to its singular and plural."""
    return MappingProxyType(
        {
            noun: (concept.name, concept.plural)
            for concept in CONCEPTS
            for noun in (concept.name, *concept.aliases)
        }
    )
