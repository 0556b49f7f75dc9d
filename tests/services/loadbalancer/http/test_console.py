"""The web page's files and the calls that only it makes."""

from __future__ import annotations

import json
import math
import re

import pytest

from diffserve.errors import DeadlineError, OverloadedError
from services.loadbalancer.http.console import STATIC
from tests.services.loadbalancer.http.fake_door import FakeDoor, serving


async def test_the_page_and_everything_it_names_is_served() -> None:
    async with serving(FakeDoor()) as client:
        page = await client.get("/")
        assert page.headers["content-type"].startswith("text/html")
        names = re.findall(r'"(static/[^"]+)"', page.text)
        assert "static/app.js" in names
        for name in {*names, *(f"static/{path.name}" for path in STATIC.iterdir())}:
            answer = await client.get(f"/{name}")
            assert answer.status_code == 200, name
            assert answer.headers["cache-control"] == "no-cache"


def test_the_page_needs_nothing_from_elsewhere() -> None:
    for path in STATIC.iterdir():
        addresses = re.findall(r"https?://[^\s\"']+", path.read_text())
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path


async def test_every_event_reaches_the_page() -> None:
    async with serving(FakeDoor()) as client:
        answer = await client.post("/api/generate", json={"prompt": "an owl"})
    events = dict(
        re.fullmatch(r"event: (\w+)\ndata: (.*)", block).groups()  # type: ignore[union-attr,misc]
        for block in answer.text.strip().split("\n\n")
    )
    assert list(events) == ["queued", "preview", "done"]
    assert json.loads(events["preview"])["image"].startswith("data:image/png;base64,")
    story = json.loads(events["done"])["story"]
    assert story["variant"] == "mock-heavy"
    assert story["first_image_s"] == 0.875  # queue, light variant and scoring, as the door told


@pytest.mark.parametrize(("wait_s", "told"), [(1.5, "1.5"), (math.inf, "null")])
async def test_a_wait_for_a_worker_that_is_not_there_is_json_too(wait_s: float, told: str) -> None:
    door = FakeDoor()
    door.wait_s = wait_s
    async with serving(door) as client:
        answer = await client.post("/api/generate", json={"prompt": "an owl"})
    assert f'"predicted_wait_s": {told}}}' in answer.text


@pytest.mark.parametrize("failure", [DeadlineError("late")])
async def test_a_failure_on_the_way_is_an_event(failure: DeadlineError) -> None:
    door = FakeDoor()
    door.failure = failure
    async with serving(door) as client:
        answer = await client.post("/api/generate", json={"prompt": "an owl"})
    assert "event: error" in answer.text


async def test_what_the_page_asks_first() -> None:
    async with serving(FakeDoor()) as client:
        playground = (await client.get("/api/playground")).json()
        assert playground["default"] == "mock"
        assert playground["models"] == ["mock"]
        assert {example["kind"] for example in playground["examples"]} == {"easy", "hard"}
        assert (await client.get("/api/status")).json()["version"] == "1"


async def test_a_refusal_is_an_ordinary_error() -> None:
    door = FakeDoor()
    door.refusal = OverloadedError("busy", predicted_wait_s=3.0, retry_after_s=1.2)
    async with serving(door) as client:
        answer = await client.post("/api/generate", json={"prompt": "an owl"})
    assert answer.status_code == 429


async def test_a_bug_is_an_error_in_the_same_form() -> None:
    door = FakeDoor()
    door.refusal = ZeroDivisionError("a bug")  # type: ignore[assignment]
    async with serving(door) as client:
        answer = await client.post("/api/generate", json={"prompt": "an owl"})
    assert answer.status_code == 500
    assert "log" in answer.json()["error"]["message"]
