import pytest

from diffserve.embedded.captions import vocabulary
from diffserve.embedded.concepts import CONCEPT_NAMES
from diffserve.embedded.words import Reason, Substitution, _nouns, read_prompt

KNOWN = frozenset(vocabulary())


@pytest.mark.parametrize(
    ("prompt", "expected", "unknown"),
    [
        ("Flat style, an OWL!", "flat style an owl", []),
        ("a kitty and a hound", "a cat and a dog", []),
        ("two vixens", "two foxes", []),
        ("three hares", "three rabbits", []),
        ("four cactuses", "four cacti", []),
        ("a zorblax owl", "a owl", ["zorblax"]),
        ("grape", "grapes", []),
        ("", "", []),
        ("a leopard next to two zebras", "a tiger next to two horses", []),
        ("a zeppelin", "a", ["zeppelin"]),
        ("two wolves", "two foxes", []),
    ],
)
def test_prompts_are_rewritten_in_known_words(prompt, expected, unknown):
    reading = read_prompt(prompt, KNOWN)
    assert (reading.text, list(reading.unknown_words)) == (expected, unknown)


@pytest.mark.parametrize(
    ("word", "read_as", "reason"),
    [
        ("kitty", "cat", Reason.ALIAS),
        ("cactuses", "cacti", Reason.FORM),
        ("leopard", "tiger", Reason.RELATED),
        ("elefant", "elephant", Reason.SPELLING),
        ("strawbery", "strawberry", Reason.SPELLING),
        ("gutiar", "guitar", Reason.SPELLING),
    ],
)
def test_a_substitution_says_what_and_why(word, read_as, reason):
    assert read_prompt(word, KNOWN).substitutions == (Substitution(word, read_as, reason),)


@pytest.mark.parametrize("word", ["the", "tre", "big", "blue", "zzzzzzzz"])
def test_nothing_is_made_of_words_that_are_near_to_nothing(word):
    assert read_prompt(word, KNOWN).substitutions == ()


def test_rewriting_twice_changes_nothing():
    once = read_prompt("a photorealistic kitty beside an aeroplane", KNOWN).text
    assert read_prompt(once, KNOWN).text == once


def test_related_things_are_new_words_for_concepts():
    for word, (name, reason) in _nouns().items():
        assert name in CONCEPT_NAMES
        assert reason is not Reason.RELATED or word not in KNOWN
