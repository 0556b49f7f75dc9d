"""What answers of HTTP servers mean."""

from __future__ import annotations

import json
import time

import pytest

from diffserve.bench.doors import OpenAiRequest, ending_of, grpc_door, openai_door
from diffserve.bench.replies import Status
from diffserve.core import Outcome
from diffserve.errors import BackendError, ConfigError, DeadlineError, OverloadedError
from diffserve.replay.client import Target
from diffserve.sim.workload import Arrival
from tests.unit.client.server import ANSWER, Server, running


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def test_an_image_of_any_server_is_an_answer() -> None:
    for image in ({"b64_json": "abcd"}, {"url": "http://a/b"}):
        ending = ending_of(200, body(data=[image]))
        assert ending.status is Status.ANSWERED
        assert ending.told.outcome is None
        assert ending.num_bytes == len(next(iter(image.values())))


def test_diffserve_tells_how_the_image_came_about() -> None:
    story = {
        "outcome": "heavy",
        "variant": "big",
        "first_image_s": 0.2,
        "stage_s": {"light_queue": 0.1, "total": 2.0},
    }
    told = ending_of(200, body(data=[{"b64_json": "a", "diffserve": story}])).told
    assert told.outcome is Outcome.HEAVY
    assert (told.variant, told.first_image_s) == ("big", 0.2)
    assert told.stage_s["light_queue"] == 0.1
    assert "total" not in told.stage_s


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (429, Status.REFUSED),
        (503, Status.REFUSED),
        (504, Status.EXPIRED),
        (400, Status.FAILED),
        (500, Status.FAILED),
    ],
)
def test_errors_are_told_apart(status: int, meaning: Status) -> None:
    ending = ending_of(status, body(error={"message": "no room"}))
    assert ending.status is meaning
    assert ending.error == f"HTTP {status}: no room"


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", body(data=[]), body(data=[{}]), b"{}"])
def test_an_answer_without_an_image_is_a_failure(content: bytes) -> None:
    assert ending_of(200, content).status is Status.FAILED
    assert ending_of(502, content).error == "HTTP 502: no message"


@pytest.mark.parametrize("url", ["ftp://host/v1", "host:1/v1", "http://[/v1"])
async def test_a_url_that_is_none_is_named(url: str) -> None:
    request = OpenAiRequest(url=url, model="", size="", timeout_s=1.0, prompt_of=str)
    with pytest.raises(ConfigError, match="--url"):
        async with openai_door(request):
            pass


async def test_our_own_door_tells_by_grpc() -> None:
    failures = (
        OverloadedError("full", predicted_wait_s=1.0, retry_after_s=1.0),
        DeadlineError("too late"),
        BackendError("broken"),
    )
    async with (
        running(Server(*failures)) as address,
        grpc_door(Target(address=address, slo_s=1.0)) as door,
    ):
        asked = [await door.ask(0, Arrival(0.0, 0), time.monotonic()) for _ in range(4)]
    *failed, answered = asked
    assert [e.status for e in failed] == [Status.REFUSED, Status.EXPIRED, Status.FAILED]
    assert "full" in failed[0].error
    assert answered.status is Status.ANSWERED
    assert answered.num_bytes == len(ANSWER.image.data)
    assert answered.told.outcome is Outcome.HEAVY
    assert answered.told.first_image_s == 0.25
