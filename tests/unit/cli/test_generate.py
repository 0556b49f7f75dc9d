"""Requests made of options, events told as lines, times as bars."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any

import pytest

from diffserve.cli.generate import (
    Drawing,
    describe_event,
    paths_of,
    print_answer,
    run_generate,
    time_rows,
    wish_of,
)
from diffserve.cli.output import CliError, console_on
from diffserve.client import Deferred, Done, GeneratedImage, Progress, Queued, Started
from diffserve.core import Outcome

IMAGE = GeneratedImage(
    data=b"123",
    media_type="image/png",
    width=64,
    height=48,
    query_id="8f3-0",
    outcome=Outcome.LIGHT_FALLBACK,
    variant="v-light",
    cascade="c",
    confidence=0.5,
    percentile=0.25,
    seed=7,
    reason="[because]",
    unknown_words=("zorblax",),
    stage_s={"total": 1.0},
    worker="w",
    plan_id=3,
)


def drawing(**changes: Any) -> Drawing:
    values: dict[str, Any] = {
        "prompt": "an owl",
        "output": "owl.png",
        "seed": None,
        "deadline_s": None,
        "preference": "auto",
        "cascade_id": "",
        "width": 0,
        "height": 0,
        "num_inference_steps": 0,
        "guidance_scale": None,
        "negative_prompt": "",
    }
    return Drawing(**{**values, **changes})


def test_what_was_not_given_stays_absent() -> None:
    wish = wish_of(drawing())
    assert (wish.deadline_s, wish.seed, wish.guidance_scale) == (None, None, None)
    assert (wish.preference, wish.priority, wish.n) == ("auto", "normal", 1)


def test_what_was_given_is_sent() -> None:
    wish = wish_of(
        drawing(seed=0, deadline_s=1.5, preference="heavy", n=3, priority="low", tenant="t")
    )
    assert (wish.seed, wish.deadline_s, wish.preference) == (0, 1.5, "heavy")
    assert (wish.n, wish.priority, wish.tenant) == (3, "low", "t")


def test_several_images_get_numbers() -> None:
    assert [str(path) for path in paths_of("d/owl.png", 1)] == ["d/owl.png"]
    assert [str(path) for path in paths_of("d/owl.png", 2)] == ["d/owl-0.png", "d/owl-1.png"]


@pytest.mark.parametrize(
    ("output", "expected"),
    [("a.png", "png"), ("a.JPG", "jpeg"), ("a.jpeg", "jpeg"), ("dir.x/a.webp", "webp")],
)
def test_suffix_chooses_the_encoding(output: str, expected: str) -> None:
    assert wish_of(drawing(output=output)).output_format == expected


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"output": "owl"}, "owl: use one of"),
        ({"output": "owl.gif"}, "owl.gif: use one of"),
        ({"preference": "HEAVY"}, "--prefer: must be one of auto, light, heavy, not 'HEAVY'"),
        ({"priority": "urgent"}, "--priority: must be one of high, normal, low, not 'urgent'"),
        ({"width": 2**31}, "--width: must be"),
        ({"num_inference_steps": 2**31}, "--steps: must be"),
        ({"seed": 2**63}, "--seed: must be a whole number from 0 to 9223372036854775807, not 9"),
        ({"prompt": "\udcff"}, "PROMPT: must be"),
    ],
)
def test_what_no_field_can_hold_is_wrong_usage(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(CliError, match="^" + re.escape(named)) as caught:
        wish_of(drawing(**changes))
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"output": "/proc/a.png"}, "--output: cannot write /proc/a.png: "),
        ({"output": "/proc/a/b.png"}, "--output: cannot write /proc: "),
        ({"output": "/proc/a.png", "n": 2}, "--output: cannot write /proc/a-0.png: "),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_anything_is_drawn(
    changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(CliError, match="^" + re.escape(named)):
        run_generate(drawing(**changes), "127.0.0.1:9", as_json=True)


def test_events_are_told_with_their_reason() -> None:
    preview = Deferred(data=b"", media_type="", confidence=0.25, reason="low confidence")
    told = "light image arrived with confidence 0.25; drawn again: low confidence"
    assert describe_event(preview) == told
    queued = Queued(variant="v", position=3, predicted_wait_s=1.5)
    assert describe_event(queued) == "waiting for v: 3 ahead, about 1.5 s"
    nobody = Queued(variant="v", position=0, predicted_wait_s=math.inf)
    assert describe_event(nobody) == "waiting for v: 0 ahead, and no worker draws it now"
    assert "v draws on w" in describe_event(Started(variant="v", worker="w", batch_size=2))
    step = Progress(variant="v", step=2, num_steps=20)
    assert describe_event(step) == "v draws: step 2 of 20"
    assert describe_event(Done(IMAGE)) == "working"


def test_bars_show_only_stages_that_ran() -> None:
    rows = time_rows({"light_execution": 1.0, "heavy_execution": 3.0, "total": 4.0})
    assert [label for label, _, _ in rows] == ["light draws", "heavy draws", "total"]
    assert len(rows[1][2]) == pytest.approx(3 * len(rows[0][2]), abs=2)


def test_answer_names_query_variant_confidence_and_unknown_words() -> None:
    text = io.StringIO()
    print_answer(IMAGE, Path("owl.png"), console_on(text))
    for part in (
        "8f3-0",
        "owl.png",
        "64x48",
        "v-light",
        "light_fallback",
        "0.500",
        "25 %",
        "zorblax",
    ):
        assert part in text.getvalue()
    assert "[because]" in text.getvalue()
