"""The choice of cascades, on outcomes made up so that the best answer is plain."""

from __future__ import annotations

import numpy as np
import pytest

from diffserve.building.choice import Choice, PairName, choose
from diffserve.building.pairs import OperatingPoint, PairedOutcomes

NUM_PROMPTS = 100
SECONDS = {"quick": 0.1, "fair": 0.4, "good": 1.0}
RIGHT = {"quick": 50, "fair": 90, "good": 100}
"""How many of the prompts each variant draws right: the easiest ones."""


def right(variant: str) -> np.ndarray:
    return (np.arange(NUM_PROMPTS) < RIGHT[variant]).astype(float)


def pair(light: str, heavy: str, *, knows: bool = True) -> PairedOutcomes:
    """Return outcomes; a discriminator that knows is least confident in what is wrong."""
    confidences = right(light) if knows else np.zeros(NUM_PROMPTS)
    return PairedOutcomes(
        light=right(light),
        heavy=right(heavy),
        confidences=confidences,
        light_s=SECONDS[light],
        heavy_s=SECONDS[heavy],
        scoring_s=0.01,
    )


SINGLES = {
    name: OperatingPoint(fraction=0.0, quality=RIGHT[name] / NUM_PROMPTS, device_s=seconds)
    for name, seconds in SECONDS.items()
}


def chosen(quality_kept: float, *names: tuple[str, str], knows: bool = True) -> Choice:
    pairs = {PairName(a, b, "judge"): pair(a, b, knows=knows) for a, b in names}
    return choose(pairs, SINGLES, quality_kept)


def test_the_cheapest_cascade_that_is_good_enough_is_the_default() -> None:
    choice = chosen(0.97, ("quick", "fair"), ("quick", "good"), ("fair", "good"))
    # 0.97 and a standard error of a hundred prompts. 0.41 s and 9 % deferred beat 0.11 s and 49 %
    # deferred, and quick to fair reaches 0.9 only.
    assert choice.quality_min == pytest.approx(0.97 + 0.0171, abs=1e-4)
    assert choice.default.name == PairName("fair", "good", "judge")
    assert choice.default.point.fraction == pytest.approx(0.09)
    assert choice.default.point.device_s == pytest.approx(0.4 + 0.01 + 0.09)
    good_enough = {c.name.light + c.name.heavy: c.is_good_enough for c in choice.candidates}
    assert good_enough == {"quickfair": False, "quickgood": True, "fairgood": True}


def test_the_best_one_is_taken_where_none_is_good_enough() -> None:
    choice = chosen(0.97, ("quick", "fair"))
    assert choice.default.point.quality == pytest.approx(0.9)
    assert not choice.default.is_good_enough


def test_the_better_discriminator_of_a_pair_is_taken() -> None:
    pairs = {
        PairName("fair", "good", "blind"): pair("fair", "good", knows=False),
        PairName("fair", "good", "judge"): pair("fair", "good"),
    }
    choice = choose(pairs, SINGLES, 0.97)
    assert [c.name.discriminator for c in choice.candidates] == ["judge"]


def test_pairs_that_others_beat_everywhere_are_not_kept() -> None:
    choice = chosen(0.97, ("quick", "good"), ("fair", "good"))
    assert {c.name.light: c.is_kept for c in choice.candidates} == {"quick": True, "fair": True}
    # Random routing between two variants is beaten by the single one between them.
    blind = chosen(0.97, ("quick", "good"), knows=False)
    assert not any(c.is_kept and c.point.quality < 0.9 for c in blind.candidates)


def test_the_error_to_spare_is_that_of_the_answers() -> None:
    half = NUM_PROMPTS // 2
    outcomes = PairedOutcomes(
        light=np.repeat([0.3, 0.5], half),
        heavy=np.full(NUM_PROMPTS, 0.5),
        confidences=np.repeat([0.0, 1.0], half),
        light_s=0.1,
        heavy_s=1.0,
        scoring_s=0.0,
    )
    singles = {
        "quick": OperatingPoint(fraction=0.0, quality=0.4, device_s=0.1),
        "good": OperatingPoint(fraction=0.0, quality=0.5, device_s=1.0),
    }
    choice = choose({PairName("quick", "good", "judge"): outcomes}, singles, 0.97)
    # A binomial's error would be 0.05, and ask for more than the best variant has. With 45 %
    # deferred there are 5 answers of 0.3 among 95 of 0.5: 0.490 and an error of 0.0044.
    assert choice.default.is_good_enough
    assert choice.default.point.fraction == pytest.approx(0.45)
    deviation = (0.05 * 0.3**2 + 0.95 * 0.5**2 - 0.49**2) ** 0.5
    relative = deviation / (0.49 * 0.51) ** 0.5
    assert choice.quality_min == pytest.approx(0.485 + relative * (0.485 * 0.515 / 100) ** 0.5)


def test_nothing_to_choose_from_is_an_error() -> None:
    with pytest.raises(ValueError, match="no pair"):
        choose({}, SINGLES, 0.97)
