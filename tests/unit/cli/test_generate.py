"""Requests made of options, events told as lines, times as bars."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from diffserve.cli.generate import (
    Drawing,
    build_request,
    describe_event,
    print_answer,
    time_rows,
)
from diffserve.cli.output import CliError, console_on
from diffserve.rpc.v1 import common_pb2, generation_pb2


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
    request = build_request(drawing())
    assert not request.HasField("deadline_s")
    assert not request.parameters.HasField("seed")
    assert not request.parameters.HasField("guidance_scale")
    assert request.preference == common_pb2.PREFERENCE_AUTO


def test_what_was_given_is_sent() -> None:
    request = build_request(drawing(seed=0, deadline_s=1.5, guidance_scale=0.0, preference="heavy"))
    assert request.deadline_s == 1.5
    assert request.parameters.HasField("seed")
    assert request.parameters.HasField("guidance_scale")
    assert request.preference == common_pb2.PREFERENCE_HEAVY


@pytest.mark.parametrize(
    ("output", "expected"),
    [("a.png", "png"), ("a.JPG", "jpeg"), ("a.jpeg", "jpeg"), ("dir.x/a.webp", "webp")],
)
def test_suffix_chooses_the_encoding(output: str, expected: str) -> None:
    assert build_request(drawing(output=output)).parameters.output_format == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"output": "owl"},
        {"output": "owl.gif"},
        {"preference": "HEAVY"},
        {"width": 2**31},
        {"seed": 2**63},
        {"prompt": "\udcff"},
    ],
)
def test_what_no_field_can_hold_is_wrong_usage(changes: dict[str, Any]) -> None:
    with pytest.raises(CliError) as caught:
        build_request(drawing(**changes))
    assert caught.value.exit_code == 2


def test_events_are_told_with_their_reason() -> None:
    preview = generation_pb2.PreviewEvent(confidence=0.25, reason="low confidence")
    event = generation_pb2.GenerateEvent(preview=preview)
    assert describe_event(
        event
    ) == "light image arrived with confidence 0.25; drawn again: low " + ("confidence")
    queued = generation_pb2.QueuedEvent(variant_id="v", position=3, predicted_wait_s=1.5)
    assert describe_event(generation_pb2.GenerateEvent(queued=queued)) == (
        "waiting for v: 3 ahead, about 1.5 s"
    )
    started = generation_pb2.StartedEvent(variant_id="v", worker_id="w", batch_size=2)
    assert "v draws on w" in describe_event(generation_pb2.GenerateEvent(started=started))
    assert describe_event(generation_pb2.GenerateEvent()) == "working"


def test_bars_show_only_stages_that_ran() -> None:
    times = common_pb2.StageTimes(light_execution_s=1.0, heavy_execution_s=3.0, total_s=4.0)
    rows = time_rows(times)
    assert [label for label, _, _ in rows] == ["light draws", "heavy draws", "total"]
    assert len(rows[1][2]) == pytest.approx(3 * len(rows[0][2]), abs=2)


def test_answer_names_variant_confidence_and_unknown_words() -> None:
    answer = generation_pb2.GenerateResponse(
        image=common_pb2.Image(data=b"123", width=64, height=48),
        outcome=common_pb2.OUTCOME_LIGHT_FALLBACK,
        variant_id="v-light",
        confidence=0.5,
        percentile=0.25,
        reason="[because]",
        unknown_words=["zorblax"],
    )
    text = io.StringIO()
    print_answer(answer, Path("owl.png"), console_on(text))
    for part in ("owl.png", "64x48", "v-light", "light_fallback", "0.500", "25 %", "zorblax"):
        assert part in text.getvalue()
    assert "[because]" in text.getvalue()
