"""Heads are trained on some prompts and route the others better than chance."""

from __future__ import annotations

import numpy as np
import pytest

from diffserve.building.choice import choose
from diffserve.gain.head import GainHead
from diffserve.gain.model_card import Judged, model_card
from diffserve.gain.preference import Preferences, preferences
from diffserve.gain.ridge import Fit
from diffserve.gain.training import (
    NUM_PROMPTS_MIN,
    Drawn,
    TrainedPair,
    routing,
    singles,
    telling_prompts,
    train,
)

DIM = 32


def unit_vectors(generator: np.random.Generator, count: int) -> np.ndarray:
    vectors = generator.standard_normal((count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def drawn(count: int, *, is_planted: bool = True, seed: int = 0) -> Drawn:
    """Return light images whose features tell how much worse than heavy's they are, or do not."""
    generator = np.random.default_rng(seed)
    images, texts = unit_vectors(generator, count), unit_vectors(generator, count)
    direction = generator.standard_normal(DIM)
    lead = images @ direction if is_planted else generator.standard_normal(count)
    heavy = np.full(count, 20.0)
    found: Preferences = preferences({"quick": heavy - 0.5 - 2.0 * lead, "good": heavy})
    return Drawn(
        preferences=found,
        images={"quick": images, "good": unit_vectors(generator, count)},
        texts=texts,
        image_s={"quick": 0.1, "good": 1.0},
        scoring_s=0.01,
    )


def trained(count: int, *, is_planted: bool = True) -> TrainedPair:
    (pair,) = train(drawn(count, is_planted=is_planted)).values()
    return pair


def test_a_planted_gain_routes_unseen_prompts_far_better_than_chance() -> None:
    pair = trained(200)
    assert (pair.name.light, pair.name.heavy) == ("quick", "good")
    assert pair.name.discriminator == "quick-good-gain"
    assert len(pair.outcomes.light) == len(pair.similarity) == 100, "half of them are graded"
    found = routing(pair)
    assert found.head_share > 0.8
    assert abs(found.similarity_share) < 0.4, "the cosine knows nothing of it"
    assert found.random < found.head <= found.oracle
    assert 0.2 < found.light_better < 0.6
    assert pair.correlation > 0.7


def test_a_hundred_graded_prompts_suffice_to_find_a_cascade_good_enough() -> None:
    seen = drawn(200)
    outcomes = {name: pair.outcomes for name, pair in train(seen).items()}
    choice = choose(outcomes, singles(seen), 0.97)
    assert choice.default.is_good_enough
    assert choice.default.is_kept
    assert 0.0 < choice.default.point.fraction < 0.5
    assert choice.default.point.quality >= choice.quality_min > 0.485


def test_what_cannot_be_learnt_is_near_to_chance() -> None:
    pair = trained(200, is_planted=False)
    assert abs(routing(pair).head_share) < 0.4
    assert pair.correlation < 0.4


def test_singles_are_measured_on_the_graded_prompts() -> None:
    seen = drawn(40)
    found = singles(seen)
    assert found["good"].quality == 0.5
    assert found["quick"].quality == seen.preferences.qualities["quick"][1::2].mean()
    assert found["quick"].device_s == 0.1
    assert seen.trained.tolist() == [True, False] * 20


def test_one_prompt_too_few_is_refused() -> None:
    assert train(drawn(NUM_PROMPTS_MIN))
    with pytest.raises(ValueError, match="19 prompts; at least 20 are needed"):
        train(drawn(NUM_PROMPTS_MIN - 1))


def test_images_that_look_the_same_are_routed_at_random() -> None:
    seen = drawn(40)
    same = np.repeat(seen.images["quick"][:1], 40, axis=0)
    texts = np.repeat(seen.texts[:1], 40, axis=0)
    (pair,) = train(
        Drawn(
            preferences=seen.preferences,
            images={**seen.images, "quick": same},
            texts=texts,
            image_s=seen.image_s,
            scoring_s=0.0,
        )
    ).values()
    assert len(set(pair.outcomes.confidences.tolist())) == 1
    assert routing(pair).head == pytest.approx(routing(pair).random)
    assert pair.correlation == 0.0


def test_confidence_falls_with_the_gain_from_a_half() -> None:
    head = GainHead(weights=np.array([1.0] + [0.0] * 6, np.float32), intercept=0.0, spread=0.1)
    images = np.array([[-0.2, 0.0], [0.0, 1.0], [0.1, 0.0], [1.0, 0.0]], np.float32)
    found = head.confidences(images, np.ones((4, 2), np.float32))
    assert found[1] == 0.5
    assert found[2] == pytest.approx(1.0 / (1.0 + np.e))
    assert (np.diff(found) < 0.0).all()
    assert ((found >= 0.0) & (found <= 1.0)).all()


def test_predictions_that_hardly_differ_are_told_apart_no_further() -> None:
    flat = Fit(weights=np.zeros(7), intercept=0.1, penalty=np.inf, left_out=np.full(9, 0.1))
    assert GainHead.of(flat).spread == 0.01


def test_telling_prompts_gain_least_and_most() -> None:
    pair = trained(40)
    prompts = [f"p{row}" for row in range(20)]
    gains = dict(zip(prompts, pair.outcomes.heavy - pair.outcomes.light, strict=True))
    least, most = telling_prompts(pair, prompts, 2)
    ordered = sorted(prompts, key=lambda prompt: gains[prompt])
    assert least == ordered[:2]
    assert most == ordered[::-1][:2]


def test_the_card_says_what_was_measured() -> None:
    pair = trained(40)
    judged = Judged(judge="j/judge", features="f/clip", best="good", num_trained=20, num_graded=20)
    assert judged.metric.startswith("chance that j/judge prefers the answer to the image of good")
    card = model_card(pair, routing(pair), judged)
    for said in ("# quick-good-gain", "j/judge", "f/clip", f"{routing(pair).head:.3f}"):
        assert said in card
