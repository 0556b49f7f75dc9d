"""``/v1/images/generations`` by plain HTTP: bodies, errors, streams, clients that leave."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from typing import Any

import httpx
import pytest

from diffserve.errors import (
    AlreadyExistsError,
    BackendError,
    DeadlineError,
    DiffServeError,
    InputError,
    OverloadedError,
    UnavailableError,
)
from diffserve.rpc.v1 import common_pb2
from tests.services.loadbalancer.http.fake_door import FakeDoor, serving

PATH = "/v1/images/generations"


async def post(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post(PATH, json={"prompt": "an owl", **body})


async def test_an_image_as_base64_with_its_story() -> None:
    async with serving(FakeDoor()) as client:
        answer = (await post(client)).json()
    assert base64.b64decode(answer["data"][0]["b64_json"]) == b"heavy"
    assert answer["size"] == "64x64"
    assert answer["output_format"] == "png"
    assert answer["quality"] == "high"
    assert answer["data"][0]["diffserve"]["variant"] == "mock-heavy"
    assert answer["data"][0]["diffserve"]["confidence"] == 0.25


async def test_every_field_reaches_the_door() -> None:
    door = FakeDoor()
    async with serving(door) as client:
        await post(
            client,
            model="mock",
            n=2,
            size="64x128",
            quality="low",
            output_format="webp",
            seed=7,
            negative_prompt="a cat",
            num_inference_steps=3,
            guidance_scale=0.0,
            deadline_s=2.5,
        )
    (first,) = door.requests
    assert (first.n, first.parameters.seed) == (2, 7)
    assert (first.parameters.width, first.parameters.height) == (64, 128)
    assert first.preference == common_pb2.PREFERENCE_LIGHT
    assert first.parameters.output_format == "webp"
    assert first.parameters.HasField("guidance_scale")
    assert first.deadline_s == 2.5
    assert first.cascade_id == "mock"


async def test_an_image_as_it_is() -> None:
    async with serving(FakeDoor()) as client:
        answer = await client.post(PATH, json={"prompt": "x"}, headers={"Accept": "image/png"})
        assert answer.content == b"heavy"
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["x-diffserve-variant"] == "mock-heavy"
        two = {"prompt": "x", "n": 2}
        answer = await client.post(PATH, json=two, headers={"Accept": "image/png"})
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "n"


async def test_an_image_behind_a_url() -> None:
    async with serving(FakeDoor()) as client:
        datum = (await post(client, response_format="url")).json()["data"][0]
        assert datum["b64_json"] is None
        assert (await client.get(datum["url"])).content == b"heavy"
        assert (await client.get("/v1/images/files/none.png")).status_code == 404


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"prompt": ""}, "prompt", "invalid_value"),
        ({"prompt": 3}, "prompt", "invalid_value"),
        ({"prompt": "\ud800"}, "prompt", "invalid_value"),
        ({"prompt": "x", "n": 0}, "n", "invalid_value"),
        ({"prompt": "x", "n": 10**9}, "n", "invalid_value"),
        ({"prompt": "x", "size": "100000x10"}, "size", "invalid_value"),
        ({"prompt": "x", "size": "wide"}, "size", "invalid_value"),
        ({"prompt": "x", "style": "vivid"}, "style", "unsupported_parameter"),
        ({"prompt": "x", "background": "transparent"}, "background", "invalid_value"),
        ({"prompt": "x", "output_compression": 50}, "output_compression", "unsupported_parameter"),
        ({"prompt": "x", "guidance_scale": float("inf")}, None, "invalid_json"),
        ({"prompt": "x", "seed": 2**70}, "seed", "invalid_value"),
        ({"prompt": "x", "stream": True, "n": 2}, "n", "invalid_value"),
        (
            {"prompt": "x", "stream": True, "response_format": "url"},
            "response_format",
            "invalid_value",
        ),
        ({}, "prompt", "invalid_value"),
        ([], None, "invalid_value"),
    ],
)
async def test_bad_parameters_are_named(body: Any, param: str | None, code: str) -> None:
    async with serving(FakeDoor()) as client:
        text = json.dumps(body)
        if code == "invalid_json":
            text = text[:-1]
        answer = await client.post(PATH, content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain", "application/octet-stream"]
)
async def test_a_body_of_another_type_is_told_which_one_is_wanted(content_type: str) -> None:
    async with serving(FakeDoor()) as client:
        headers = {"Content-Type": content_type}
        answer = await client.post(PATH, content='{"prompt": "x"}', headers=headers)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"] == "Content-Type: must be application/json"
    assert (error["param"], error["code"]) == ("Content-Type", "invalid_value")


@pytest.mark.parametrize(
    "content",
    [
        b'{"prompt": "x"',
        b'{"prompt": "\xff"}',
        gzip.compress(b'{"prompt": "x"}'),
        b'{"prompt": ' + b"[" * 100_000,
        b'{"prompt": "x", "seed": ' + b"1" * 5000 + b"}",
    ],
    ids=["truncated", "not UTF-8", "compressed", "deep", "digits"],
)
async def test_a_body_that_cannot_be_read_is_no_json(content: bytes) -> None:
    async with serving(FakeDoor()) as client:
        headers = {"Content-Type": "application/json"}
        answer = await client.post(PATH, content=content, headers=headers)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["type"]) == ("invalid_json", "invalid_request_error")
    assert "JSON" in error["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"size": "wide"}, "size: must be WIDTHxHEIGHT in pixels, or auto"),
        ({"size": "64x64 "}, "size: must be WIDTHxHEIGHT in pixels, or auto"),
    ],
)
async def test_messages_are_for_people(body: dict[str, Any], message: str) -> None:
    async with serving(FakeDoor()) as client:
        text = json.dumps({"prompt": "x", **body})
        answer = await client.post(PATH, content=text, headers={"Content-Type": "application/json"})
    assert answer.json()["error"]["message"] == message


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (InputError("parameters.width", "must be 8, not 9"), "size: the width must be 8, not 9"),
        (InputError("parameters.height", "must be 8, not 9"), "size: the height must be 8, not 9"),
        (InputError("parameters.seed", "is too large"), "seed: is too large"),
        (InputError("cascade_id", "no cascade 'x'"), "model: no cascade 'x'"),
    ],
)
async def test_messages_name_the_field_that_was_sent(failure: DiffServeError, message: str) -> None:
    door = FakeDoor()
    door.failure = failure
    async with serving(door) as client:
        assert (await post(client)).json()["error"]["message"] == message


@pytest.mark.parametrize(
    ("failure", "status", "param"),
    [
        (InputError("parameters.width", "too large"), 400, "size"),
        (InputError("cascade_id", "no such cascade"), 404, "model"),
        (OverloadedError("busy", predicted_wait_s=3.0, retry_after_s=1.2), 429, None),
        (UnavailableError("draining"), 503, None),
        (DeadlineError("late"), 504, None),
        (BackendError("broke"), 500, None),
    ],
)
async def test_failures_have_their_status(
    failure: DiffServeError, status: int, param: str | None
) -> None:
    door = FakeDoor()
    door.failure = failure
    async with serving(door) as client:
        for count in (1, 3):
            answer = await post(client, n=count)
            assert answer.status_code == status
            assert answer.json()["error"]["param"] == param
            if status == 429:
                assert answer.headers["retry-after"] == "2"
                assert answer.headers["x-predicted-wait"] == "3.000"


async def test_an_idempotency_key_is_the_id_of_the_whole_call() -> None:
    door = FakeDoor()
    async with serving(door) as client:
        for count in (1, 2):
            body = {"prompt": "x", "n": count}
            await client.post(PATH, json=body, headers={"Idempotency-Key": "any text"})
    assert [request.n for request in door.requests] == [1, 2]
    assert len({request.query_id for request in door.requests}) == 1


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (
            AlreadyExistsError("query_id: ab belongs to another", field="parameters.prompt"),
            "Idempotency-Key: belongs to a request with another prompt",
        ),
        (
            AlreadyExistsError("query_id: ab belongs to another", field="cascade_id"),
            "Idempotency-Key: belongs to a request with another model",
        ),
        (
            AlreadyExistsError("query_id: ab was answered before and its image is not kept"),
            "Idempotency-Key: was answered before and its images are not kept; use another",
        ),
    ],
)
async def test_a_key_of_another_request_is_named_as_it_was_sent(
    failure: AlreadyExistsError, message: str
) -> None:
    door = FakeDoor()
    door.failure = failure
    async with serving(door) as client:
        answer = await client.post(PATH, json={"prompt": "x"}, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert (error["param"], error["message"]) == ("Idempotency-Key", message)


async def test_a_stream_sends_the_preview_and_the_image() -> None:
    async with serving(FakeDoor()) as client:
        events = (await post(client, stream=True, partial_images=1)).text.split("\n\n")[:-1]
        assert [event.split("\n")[0] for event in events] == [
            "event: image_generation.partial_image",
            "event: image_generation.completed",
        ]
        done = json.loads(events[1].split("data: ")[1])
        assert base64.b64decode(done["b64_json"]) == b"heavy"
        assert done["diffserve"]["reason"] == "because"
        plain = (await post(client, stream=True)).text
        assert "partial_image" not in plain
        assert "completed" in plain


async def test_a_stream_that_fails_says_so() -> None:
    door = FakeDoor()
    door.failure = DeadlineError("late")
    async with serving(door) as client:
        text = (await post(client, stream=True)).text
    assert text.startswith("event: error\n")
    assert json.loads(text.split("data: ")[1])["error"]["message"] == "late"


@pytest.mark.parametrize("is_streaming", [False, True])
async def test_a_client_that_leaves_cancels_its_query(is_streaming: bool) -> None:
    door = FakeDoor()
    door.hangs = True
    async with serving(door) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(PATH, json={"prompt": "x", "stream": is_streaming}, timeout=0.3)
        async with asyncio.timeout(5.0):
            while door.num_left == 0:
                await asyncio.sleep(0.01)


async def test_head_is_get_without_a_body() -> None:
    async with serving(FakeDoor()) as client:
        url = (await post(client, response_format="url")).json()["data"][0]["url"]
        for path in (url, "/", "/v1/models", "/healthz", "/static/playground.js"):
            whole, head = await client.get(path), await client.head(path)
            assert (head.status_code, head.content) == (200, b"")
            for name in ("content-type", "content-length"):
                assert head.headers[name] == whole.headers[name]
        assert (await client.head("/v1/images/files/none.png")).status_code == 404
        assert (await client.head(PATH)).status_code == 405
        assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_a_body_may_not_be_huge() -> None:
    async with serving(FakeDoor()) as client:
        answer = await post(client, prompt="x" * 300_000)
    assert answer.status_code == 413
    assert "at most" in answer.json()["error"]["message"]


async def test_probes_and_models() -> None:
    async with serving(FakeDoor(), is_ready=False) as client:
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        assert [m["id"] for m in (await client.get("/v1/models")).json()["data"]] == ["mock"]
        assert (await client.get("/v1/models/mock")).json()["object"] == "model"
        none = await client.get("/v1/models/none")
        assert none.status_code == 404
        assert none.json()["error"] == {
            "message": "model: no cascade 'none'; there is mock",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
        assert (await client.get("/nowhere")).json()["error"]["message"] == "Not Found"
        document = (await client.get("/openapi.json")).json()
        assert {PATH, "/v1/models", "/healthz", "/readyz"} <= set(document["paths"])
        told = set(document["paths"][PATH]["post"]["responses"])
        assert {"400", "404", "409", "default"} <= told
        assert "422" not in json.dumps(document)
        assert "HTTPValidationError" not in document["components"]["schemas"]
    async with serving(FakeDoor()) as client:
        assert (await client.get("/readyz")).status_code == 200
