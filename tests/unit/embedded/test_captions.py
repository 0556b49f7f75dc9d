import numpy as np
import pytest

from diffserve.embedded.captions import (
    OPEN_SHARE,
    plain_caption,
    sample_prompt,
    split_words,
    vocabulary,
)
from diffserve.embedded.concepts import BACKGROUNDS, CONCEPTS, STYLE_SYNONYMS
from diffserve.embedded.scenes import COUNT_LAYOUTS, Level, Scene
from diffserve.embedded.tokenizer import MAX_TOKENS, build_tokenizer


def sample(level, count=300, seed=0):
    rng = np.random.default_rng(seed)
    return [sample_prompt(rng, level) for _ in range(count)]


@pytest.mark.parametrize(
    ("scene", "caption"),
    [
        (
            Scene("flat", "sky blue", "single", ("owl",)),
            "flat style, an owl, sky blue background",
        ),
        (
            Scene("flat", "sunset", "row", ("cat", "grapes")),
            "flat style, a cat left of grapes, sunset background",
        ),
        (
            Scene("flat", "night", "column", ("cat", "dog")),
            "flat style, a cat above a dog, night background",
        ),
        (
            Scene("flat", "pink", "grid", ("bee",) * 4),
            "flat style, four bees, pink background",
        ),
        (
            Scene("flat", "white", "funnel", ("cat", "dog", "fox")),
            "flat style, a cat and a dog above a fox, white background",
        ),
        (
            Scene("pixel", "white", "funnel", ("rocket", "rocket", "cat")),
            "pixel style, two rockets above a cat, white background",
        ),
        (
            Scene("sketch", "white", "grid", ("cat", "cat", "bee", "bee")),
            "sketch style, two cats above two bees, white background",
        ),
        (
            Scene("sketch", "white", "grid", ("cat", "unicorn", "dog", "owl")),
            "sketch style, a cat and a unicorn above a dog and an owl, white background",
        ),
    ],
)
def test_plain_captions(scene, caption):
    assert plain_caption(scene) == caption


@pytest.mark.parametrize("level", Level)
def test_sampling_is_deterministic(level):
    assert sample(level, 20) == sample(level, 20)


@pytest.mark.parametrize("level", Level)
def test_a_caption_names_every_object(level):
    forms = {
        concept.name: [
            concept.name,
            concept.plural,
            *(word for pair in concept.synonyms for word in pair),
        ]
        for concept in CONCEPTS
    }
    for prompt in sample(level):
        for concept in prompt.scene.concepts:
            assert any(form in prompt.text for form in forms[concept])


@pytest.mark.parametrize("level", Level)
def test_a_caption_says_whether_style_and_background_are_open(level):
    phrases = {b.name: (b.name, *b.synonyms) for b in BACKGROUNDS}
    for prompt in sample(level):
        styles = (prompt.scene.style, *STYLE_SYNONYMS[prompt.scene.style])
        assert ("style" in prompt.text) == prompt.names_style
        if prompt.names_style:
            assert any(f"{style} style" in prompt.text for style in styles)
        assert ("background" in prompt.text) == prompt.names_background
        if prompt.names_background:
            assert any(phrase in prompt.text for phrase in phrases[prompt.scene.background])


def test_a_share_of_captions_leaves_the_style_open():
    share = np.mean([not prompt.names_style for prompt in sample(Level.ONE, 1000)])
    assert share == pytest.approx(OPEN_SHARE, abs=0.05)


def test_counts_are_in_words_or_digits():
    words = {2: {"two", "2"}, 3: {"three", "3"}, 4: {"four", "4"}}
    for prompt in sample(Level.COUNT):
        count = len(prompt.scene.concepts)
        assert count in COUNT_LAYOUTS
        assert words[count] & set(split_words(prompt.text))


def test_every_word_of_a_caption_is_in_the_vocabulary_and_captions_fit():
    known = set(vocabulary())
    tokenizer = build_tokenizer()
    for level in Level:
        for prompt in sample(level):
            assert set(split_words(prompt.text)) <= known
            ids = tokenizer(prompt.text).input_ids
            assert len(ids) <= MAX_TOKENS
            assert tokenizer.unk_token_id not in ids
