import pytest

from diffserve.embedded.captions import vocabulary
from diffserve.embedded.words import read_prompt

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
    ],
)
def test_prompts_are_rewritten_in_known_words(prompt, expected, unknown):
    assert read_prompt(prompt, KNOWN) == (expected, unknown)


def test_rewriting_twice_changes_nothing():
    once, _ = read_prompt("a photorealistic kitty beside an aeroplane", KNOWN)
    assert read_prompt(once, KNOWN) == (once, [])
