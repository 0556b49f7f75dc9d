"""Building goes on where it stopped, and says what is wrong with an option."""

from __future__ import annotations

import inspect
import time
from pathlib import Path

import numpy as np
import pytest

from diffserve.building.choice import QUALITY_KEPT, PairName, choose
from diffserve.building.pairs import OperatingPoint, PairedOutcomes
from diffserve.cli.cascades import cascade_build
from diffserve.cli.output import CliError

build = pytest.importorskip("diffserve.cli.build")  # needs torch


def options(**changes: object) -> object:
    known = {
        "out": Path("out"),
        "variants": (),
        "count": 2,
        "budget_s": 60.0,
        "quality_kept": 0.98,
        "weights": None,
        "jobs": 1,
    }
    return build.Options(**{**known, **changes})


def test_the_command_asks_for_what_choosing_asks_for() -> None:
    asked = inspect.signature(cascade_build).parameters["quality_kept"]
    assert asked.default == QUALITY_KEPT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variants": ("nobody",)}, "--variants: no variant 'nobody'"),
        ({"variants": ("sprite-tiny",)}, "--variants: name at least two"),
        ({"weights": Path("/nowhere")}, "--weights: /nowhere is no folder"),
    ],
)
def test_wrong_options_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(CliError, match=message):
        options(**changes).request()


def test_what_was_drawn_is_not_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "CACHE", tmp_path)
    request = options(variants=("sprite-tiny", "sprite-light")).request()
    drawn = []

    def draw_part(part: object) -> object:
        drawn.append(part)
        return build.Outcome(drawn={})

    monkeypatch.setattr(build, "draw_part", draw_part)
    store = build._store(request)
    stopped = build._outcomes(request, store, time.monotonic() - 1.0)
    assert len(stopped) == len(drawn) == 1, "the budget was used up after the first batch"
    whole = build._outcomes(request, store, time.monotonic() + 60.0)
    assert len(whole) == len(drawn) == len(build.parts_of(request)) == 6
    assert build._outcomes(request, store, time.monotonic() + 60.0) == whole
    assert len(drawn) == 6


def test_every_cascade_is_capped_at_the_share_it_was_chosen_for() -> None:
    ranks = np.arange(100) / 100.0
    pair = PairedOutcomes(
        light=(ranks >= 0.3).astype(float),
        heavy=np.ones(100),
        confidences=ranks,
        light_s=0.1,
        heavy_s=1.0,
        scoring_s=0.0,
    )
    singles = {
        "light": OperatingPoint(fraction=0.0, quality=0.7, device_s=0.1),
        "heavy": OperatingPoint(fraction=0.0, quality=1.0, device_s=1.0),
    }
    choice = choose({PairName("light", "heavy", "d"): pair}, singles, 0.9)
    (served,) = build._served(choice)
    assert served.deferral_max == choice.default.point.fraction
    assert 0.2 < served.deferral_max < 0.3
