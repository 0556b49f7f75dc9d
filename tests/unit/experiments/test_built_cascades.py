"""The page of a build: figures stay readable however many pairs there are."""

from __future__ import annotations

import io
import itertools
import warnings

import numpy as np
import pytest

from diffserve.building.catalog_file import Profile
from diffserve.building.choice import PairName, cascade_id, choose
from diffserve.building.pairs import OperatingPoint, PairedOutcomes
from diffserve.experiments.built_cascades import COLORS, Wording, page

NUM_PROMPTS = 20


@pytest.mark.parametrize("num_variants", [3, 9])
def test_pairs_are_named_as_far_as_there_is_room(num_variants: int) -> None:
    figures = pytest.importorskip("matplotlib.figure")
    random = np.random.default_rng(0)
    names = [f"a-variant-of-number-{index}" for index in range(num_variants)]
    quality = {name: random.random(NUM_PROMPTS) for name in names}
    seconds = {name: 0.1 * 2.0**index for index, name in enumerate(names)}
    pairs = {
        PairName(light, heavy, "judge"): PairedOutcomes(
            light=quality[light],
            heavy=quality[heavy],
            confidences=random.random(NUM_PROMPTS),
            light_s=seconds[light],
            heavy_s=seconds[heavy],
            scoring_s=0.01,
        )
        for light, heavy in itertools.combinations(names, 2)
    }
    singles = {
        name: OperatingPoint(
            fraction=0.0, quality=float(quality[name].mean()), device_s=seconds[name]
        )
        for name in names
    }
    profiles = {
        name: Profile(execution_s={1: s}, execution_s_p95={1: s}, memory_bytes=1, load_s=1)
        for name, s in seconds.items()
    }
    choice = choose(pairs, singles, 0.97)
    wording = Wording(quality="accuracy", verb="right", judged=())
    for figure in page(choice, profiles, singles, 0.97, wording).figures[:2]:
        canvas = figures.Figure(figsize=figure.size, layout="constrained")
        figure.draw(canvas)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            canvas.savefig(io.BytesIO(), format="svg")
        legend = canvas.axes[0].get_legend()
        named = {text.get_text() for text in legend.get_texts()}
        told = [c for c in choice.candidates if c.is_kept or c is choice.default]
        shown = choice.candidates if len(choice.candidates) <= len(COLORS) else told
        assert named == {cascade_id(candidate.name) for candidate in shown}
