"""OpenAI's own Python client, unmodified, gets images and readable errors."""

from __future__ import annotations

import base64

import openai
import pytest

from diffserve.errors import InputError, OverloadedError
from tests.services.loadbalancer.http.fake_door import FakeDoor, serving


def client_of(base_url: object) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0)


async def test_images_by_base64_and_url() -> None:
    async with serving(FakeDoor()) as http, client_of(http.base_url) as client:
        answer = await client.images.generate(
            model="mock", prompt="an owl", n=2, size="64x64", output_format="png", quality="auto"
        )
        assert answer.data is not None
        assert [base64.b64decode(image.b64_json or "") for image in answer.data] == [b"heavy"] * 2
        answer = await client.images.generate(prompt="an owl", response_format="url")
        assert answer.data is not None
        assert (await http.get(answer.data[0].url or "")).content == b"heavy"


async def test_partial_images() -> None:
    async with serving(FakeDoor()) as http, client_of(http.base_url) as client:
        stream = await client.images.generate(prompt="an owl", stream=True, partial_images=1)
        events = [event async for event in stream]
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert [base64.b64decode(event.b64_json) for event in events] == [b"light", b"heavy"]


async def test_models() -> None:
    async with serving(FakeDoor()) as http, client_of(http.base_url) as client:
        assert [model.id async for model in client.models.list()] == ["mock"]
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("none")


async def test_errors_name_the_parameter() -> None:
    async with serving(FakeDoor()) as http, client_of(http.base_url) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.generate(prompt="an owl", style="vivid")
        assert caught.value.param == "style"
        with pytest.raises(openai.BadRequestError) as caught:
            await client.images.generate(prompt="an owl", background="transparent")
        assert caught.value.param == "background"


async def test_a_model_that_there_is_not() -> None:
    door = FakeDoor()
    door.failure = InputError("cascade_id", "no cascade 'dall-e-9'; there is mock")
    async with serving(door) as http, client_of(http.base_url) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.images.generate(model="dall-e-9", prompt="an owl")
        assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


async def test_a_refusal_is_a_rate_limit() -> None:
    door = FakeDoor()
    door.failure = OverloadedError("busy", predicted_wait_s=3.0, retry_after_s=1.2)
    async with serving(door) as http, client_of(http.base_url) as client:
        with pytest.raises(openai.RateLimitError) as caught:
            await client.images.generate(prompt="an owl")
        assert caught.value.response.headers["retry-after"] == "2"
