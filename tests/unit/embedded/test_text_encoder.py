import torch

from diffserve.embedded.layout import GRID
from diffserve.embedded.tokenizer import MAX_TOKENS, tokenize


def encode(pipeline, texts):
    return pipeline.text_encoder(*tokenize(pipeline.tokenizer, texts))


def test_an_encoding_has_tokens_and_a_layout(untrained):
    encoding = encode(untrained, ["an owl", ""])
    assert encoding.tokens.shape[:2] == (2, MAX_TOKENS)
    assert encoding.layout.shape[0] == 2
    assert encoding.layout.shape[2:] == (GRID, GRID)
    assert torch.isfinite(encoding.layout).all()


def test_every_cell_has_a_distribution_over_concepts(untrained):
    ids, mask = tokenize(untrained.tokenizer, ["an owl"])
    _, logits = untrained.text_encoder.predict(ids, mask)
    assert torch.allclose(logits.plan().concepts.sum(dim=1), torch.ones(1, GRID, GRID))
    assert logits.select([0]).concepts.shape == logits.concepts.shape


def test_word_order_matters(untrained):
    one, other = encode(untrained, ["a cat left of a dog", "a dog left of a cat"]).layout
    assert not torch.allclose(one, other, atol=1e-5)


def test_an_encoding_does_not_depend_on_its_neighbours(untrained):
    together = encode(untrained, ["an owl", "three foxes on a green meadow background"]).layout
    assert torch.allclose(together[:1], encode(untrained, ["an owl"]).layout, atol=1e-5)
