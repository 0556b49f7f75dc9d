from diffserve.embedded.captions import split_words, vocabulary
from diffserve.embedded.concepts import (
    BACKGROUND_NAMES,
    CONCEPT_NAMES,
    CONCEPTS,
    STYLE_SYNONYMS,
    STYLES,
)


def test_the_world_is_as_large_as_promised():
    assert len(CONCEPTS) >= 100
    assert len(STYLES) == 3
    assert len(BACKGROUND_NAMES) == 8
    assert set(STYLE_SYNONYMS) == set(STYLES)


def test_names_are_unique():
    assert len(set(CONCEPT_NAMES)) == len(CONCEPT_NAMES)
    assert len(set(BACKGROUND_NAMES)) == len(BACKGROUND_NAMES)
    assert len({concept.slug for concept in CONCEPTS}) == len(CONCEPTS)


def test_a_noun_means_one_concept_only():
    owners: dict[str, str] = {}
    for concept in CONCEPTS:
        words = {concept.name, concept.plural, *concept.aliases}
        words |= {word for pair in concept.synonyms for word in pair}
        for word in words:
            assert owners.setdefault(word, concept.name) == concept.name


def test_aliases_are_single_words_outside_the_vocabulary():
    known = set(vocabulary())
    for concept in CONCEPTS:
        for alias in concept.aliases:
            assert split_words(alias) == [alias]
            assert alias not in known
