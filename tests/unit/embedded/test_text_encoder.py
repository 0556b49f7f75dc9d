import torch

from diffserve.embedded.layout import GRID
from diffserve.embedded.tokenizer import tokenize


def encode(pipeline, texts):
    return pipeline.text_encoder(*tokenize(pipeline.tokenizer, texts))


def test_a_plan_has_concepts_and_geometry_of_every_cell(untrained):
    plan = encode(untrained, ["an owl", ""])
    assert plan.concepts.shape[0] == 2
    assert plan.concepts.shape[2:] == plan.geometry.shape[2:] == (GRID, GRID)
    assert torch.isfinite(plan.concepts).all()


def test_every_cell_has_a_distribution_over_concepts(untrained):
    ids, mask = tokenize(untrained.tokenizer, ["an owl"])
    logits = untrained.text_encoder.predict(ids, mask)
    assert torch.allclose(logits.plan().concepts.sum(dim=1), torch.ones(1, GRID, GRID))
    assert logits.select([0]).concepts.shape == logits.concepts.shape


def test_word_order_matters(untrained):
    one, other = encode(untrained, ["a cat left of a dog", "a dog left of a cat"]).concepts
    assert not torch.allclose(one, other, atol=1e-6)


def test_an_encoding_does_not_depend_on_its_neighbours(untrained):
    together = encode(untrained, ["an owl", "three foxes on a green meadow background"]).concepts
    assert torch.allclose(together[:1], encode(untrained, ["an owl"]).concepts, atol=1e-5)
