"""Building goes on where it stopped, and says what is wrong with an option."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

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
    store = build._Store(request)
    stopped = build._outcomes(request, store, time.monotonic() - 1.0)
    assert len(stopped) == len(drawn) == 1, "the budget was used up after the first batch"
    whole = build._outcomes(request, store, time.monotonic() + 60.0)
    assert len(whole) == len(drawn) == len(build.parts_of(request)) == 6
    assert build._outcomes(request, store, time.monotonic() + 60.0) == whole
    assert len(drawn) == 6
