"""The report: self-contained, escaped, and drawn from the replies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from typing import Any

import pytest

from diffserve.bench.page import page_of
from diffserve.bench.plots import kind_of, nice_step
from diffserve.bench.replies import Reply, Status, Told
from diffserve.bench.summary import summary
from diffserve.core import Outcome

STAGE_S = {"light_queue": 0.1, "light_execution": 0.3}


def replies() -> list[Reply]:
    told = Told(outcome=Outcome.HEAVY, variant="big", first_image_s=0.2, stage_s=STAGE_S)
    fields: dict[str, Any] = {"lag_s": 0.001, "latency_s": 0.5}
    return [
        Reply(arrival_s=1.0, status=Status.ANSWERED, told=told, **fields),
        Reply(arrival_s=2.0, status=Status.ANSWERED, **fields),
        Reply(arrival_s=3.0, status=Status.REFUSED, error="<b>full</b>", **fields),
    ]


def page(of: Sequence[Reply], **fields: object) -> str:
    document = {
        "target": "http://host/<v1>",
        "trace": "poisson",
        "seed": 0,
        "warm_up_s": 5.0,
        "command": "diffserve bench",
        "made": "today",
        **summary(of, 1.0, 10.0),
        **fields,
    }
    return page_of(document, of)


class Balance(HTMLParser):
    """Checks that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_closes_what_it_opens() -> None:
    text = page(replies())
    assert not re.search(r"<(script|link|img)|src=|@import|url\(", text)
    parser = Balance()
    parser.feed(text)
    assert not parser.open
    assert parser.seen.count("svg") == 3
    assert parser.seen.count("circle") == 3


def test_what_servers_say_is_escaped() -> None:
    text = page(replies())
    assert "<b>full</b>" not in text and "&lt;b&gt;full&lt;/b&gt;" in text
    assert "http://host/&lt;v1&gt;" in text


def test_figures_are_those_of_the_document() -> None:
    text = page(replies())
    assert "66.7 %" in text  # in time, of all sent
    assert "drawing, light 300 ms" in text


def test_a_server_that_tells_nothing_gets_no_stages() -> None:
    text = page([reply for reply in replies() if not reply.told.stage_s])
    assert "Where the time goes" not in text
    assert "not told" in text


def test_a_run_without_any_answer_has_a_page() -> None:
    text = page(replies()[2:])
    assert "n/a" in text


@pytest.mark.parametrize(("lag_s", "is_warned"), [(0.001, False), (0.02, True)])
def test_a_busy_client_is_warned_of(lag_s: float, is_warned: bool) -> None:
    assert ("The client itself was late" in page(replies(), client_lag_s_p99=lag_s)) is is_warned


def test_dots_are_coloured_by_what_became_of_the_query() -> None:
    assert [kind_of(reply) for reply in replies()] == ["heavy", "answered", "refused"]


@pytest.mark.parametrize(("largest", "step"), [(1.0, 0.2), (40.0, 10.0), (7.0, 2.0), (0.03, 0.01)])
def test_ticks_are_round(largest: float, step: float) -> None:
    assert nice_step(largest) == pytest.approx(step)
