"""The asyncio client: answers as values, errors as exceptions, retries that are safe."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from diffserve.client import (
    AsyncClient,
    BackendError,
    DeadlineError,
    Deferred,
    DiffServeError,
    Done,
    InputError,
    NotFoundError,
    Outcome,
    OverloadedError,
    Preference,
    Priority,
    Progress,
    QueryStep,
    Queued,
    Retries,
    Started,
    UnavailableError,
    Wish,
)
from diffserve.client.messages import event_of
from diffserve.rpc.v1 import common_pb2, generation_pb2
from tests.unit.client.server import Server, running

FAST = Retries(pause_s=0.01)


async def test_an_answer_is_a_value() -> None:
    async with running(Server()) as address, AsyncClient(address) as client:
        image = await client.generate("an owl")
    assert image.data == b"image"
    assert (image.width, image.height, image.media_type) == (8, 16, "image/png")
    assert image.outcome is Outcome.HEAVY
    assert (image.confidence, image.percentile, image.seed) == (0.25, 0.5, 7)
    assert image.unknown_words == ("zebu",)
    assert image.stage_s["light_execution"] == 0.25
    assert image.stage_s["total"] == 1.5


async def test_a_wish_reaches_the_server() -> None:
    wish = Wish(
        prompt="an owl",
        negative_prompt="a cat",
        seed=0,
        width=64,
        guidance_scale=0.0,
        output_format="webp",
        cascade="c",
        preference=Preference.LIGHT,
        deadline_s=3.0,
        priority=Priority.HIGH,
        tenant="t",
    )
    server = Server()
    async with running(server) as address, AsyncClient(address) as client:
        await client.generate(wish)
    request = server.requests[0]
    assert request.parameters.HasField("seed")
    assert request.parameters.HasField("guidance_scale")
    assert request.parameters.negative_prompt == "a cat"
    assert request.parameters.output_format == "webp"
    assert request.preference == common_pb2.PREFERENCE_LIGHT
    assert request.deadline_s == 3.0
    assert (request.priority, request.tenant) == (generation_pb2.PRIORITY_HIGH, "t")
    assert request.query_id


async def test_a_query_id_is_sent_as_it_is() -> None:
    server = Server()
    async with running(server) as address, AsyncClient(address) as client:
        await client.generate("an owl", query_id="mine")
        await client.generate_all("an owl", query_id="mine", n=2)
        assert [event async for event in client.stream("an owl", query_id="mine")]
        await client.generate("an owl")
    assert [request.query_id for request in server.requests[:3]] == ["mine"] * 3
    assert server.requests[3].query_id not in ("", "mine")


async def test_a_query_that_waits_has_no_outcome_yet() -> None:
    async with running(Server()) as address, AsyncClient(address) as client:
        record = await client.get_query("waits")
    assert (record.query_id, record.phase, record.cascade) == ("waits", "light_queue", "c")
    assert (record.outcome, record.confidence, record.percentile) == (None, None, None)
    assert (record.age_s, record.stage_s["total"], record.steps) == (0.5, 0.0, ())


async def test_an_answered_query_tells_its_story() -> None:
    async with running(Server()) as address, AsyncClient(address) as client:
        record = await client.get_query("done")
    assert (record.outcome, record.reason) == (Outcome.LIGHT, "because")
    assert (record.confidence, record.percentile) == (0.25, 0.5)
    assert record.stage_s["light_execution"] == 0.25
    assert record.steps == (
        QueryStep(name="light_batch", at_s=0.5, variant="v", worker="w", batch_size=2, plan_id=3),
    )


async def test_a_query_that_nobody_knows_is_a_not_found_error() -> None:
    server = Server(NotFoundError("query_id: 'x' is not known (any more)"))
    async with running(server) as address, AsyncClient(address) as client:
        with pytest.raises(NotFoundError, match="not known"):
            await client.get_query("x")


@pytest.mark.parametrize("query_id", [None, 3, "\udcff"])
async def test_an_id_that_is_no_text_is_named(query_id: Any) -> None:
    async with AsyncClient("127.0.0.1:9") as client:
        with pytest.raises(InputError, match=r"^query_id: must be"):
            await client.get_query(query_id)


async def test_events_come_in_order() -> None:
    async with running(Server()) as address, AsyncClient(address) as client:
        events = [event async for event in client.stream("an owl")]
    assert [type(event) for event in events] == [Queued, Started, Deferred, Done]
    assert isinstance(events[2], Deferred)
    assert events[2].data == b"light"
    assert events[2].confidence is None


@pytest.mark.parametrize(
    "failure",
    [
        UnavailableError("draining"),
        OverloadedError("busy", predicted_wait_s=2.0, retry_after_s=0.02),
    ],
)
async def test_what_is_safe_is_tried_again_under_the_same_id(failure: DiffServeError) -> None:
    server = Server(failure)
    async with running(server) as address, AsyncClient(address, retries=FAST) as client:
        assert (await client.generate("an owl")).data == b"image"
    assert len(server.requests) == 2
    assert len({request.query_id for request in server.requests}) == 1


@pytest.mark.parametrize(
    "failure",
    [
        InputError("parameters.width", "too large"),
        DeadlineError("late"),
        BackendError("broke"),
        DiffServeError("strange"),
    ],
)
async def test_an_answer_that_would_stay_the_same_is_raised_at_once(
    failure: DiffServeError,
) -> None:
    server = Server(failure)
    async with running(server) as address, AsyncClient(address, retries=FAST) as client:
        with pytest.raises(type(failure)) as caught:
            await client.generate("an owl")
    assert len(server.requests) == 1
    if isinstance(failure, InputError):
        assert isinstance(caught.value, InputError)
        assert caught.value.field == "parameters.width"


async def test_the_last_refusal_says_when_to_retry() -> None:
    refusal = OverloadedError("busy", predicted_wait_s=2.5, retry_after_s=1.5)
    async with (
        running(Server(refusal)) as address,
        AsyncClient(address, retries=Retries(num_max=0)) as client,
    ):
        with pytest.raises(OverloadedError) as caught:
            await client.generate("an owl")
    assert caught.value.retry_after_s == 1.5
    assert caught.value.predicted_wait_s == 2.5


async def test_no_server_is_an_unavailable_error() -> None:
    async with AsyncClient("127.0.0.1:9", retries=Retries(num_max=0)) as client:
        with pytest.raises(UnavailableError):
            await client.generate("an owl")


async def test_a_retry_does_not_outlive_the_deadline() -> None:
    refusal = OverloadedError("busy", predicted_wait_s=9.0, retry_after_s=5.0)
    async with running(Server(refusal)) as address, AsyncClient(address) as client:
        with pytest.raises(OverloadedError):
            await client.generate("an owl", deadline_s=1.0)


@pytest.mark.parametrize("deadline_s", [1e10, 1e300])
async def test_a_deadline_beyond_all_clocks_is_left_to_the_server(deadline_s: float) -> None:
    server = Server()
    async with running(server) as address, AsyncClient(address) as client:
        assert (await client.generate("an owl", deadline_s=deadline_s)).data == b"image"
        assert [event async for event in client.stream("an owl", deadline_s=deadline_s)]
    assert [request.deadline_s for request in server.requests] == [deadline_s] * 2


async def test_leaving_the_stream_cancels_the_call() -> None:
    server = Server(hangs=True)
    async with running(server) as address, AsyncClient(address) as client:
        async with contextlib.aclosing(client.stream("an owl")) as events:
            async for event in events:
                if isinstance(event, Deferred):
                    break
        await asyncio.wait_for(server.was_cancelled.wait(), 5.0)


async def test_a_wish_and_fields_do_not_mix() -> None:
    async with AsyncClient("127.0.0.1:9") as client:
        with pytest.raises(TypeError, match="seed"):
            await client.generate(Wish(prompt="an owl"), seed=1)


async def test_several_images_come_in_their_order() -> None:
    server = Server()
    async with running(server) as address, AsyncClient(address) as client:
        images = await client.generate_all("an owl", n=3)
        assert [image.data for image in images] == [b"image"] * 3
        with pytest.raises(InputError, match="n: must be 1, not 3; several come from"):
            await client.generate("an owl", n=3)
    assert server.requests[0].n == 3


def test_steps_are_events() -> None:
    progress = generation_pb2.ProgressEvent(variant_id="v", step=2, num_steps=5)
    event = event_of(generation_pb2.GenerateEvent(progress=progress, index=1))
    assert event == Progress(variant="v", step=2, num_steps=5, index=1)


async def test_connecting_ahead_tells_whether_anybody_is_there() -> None:
    async with running(Server()) as address, AsyncClient(address) as client:
        await client.connect(5.0)
    async with AsyncClient("127.0.0.1:9") as client:
        with pytest.raises(TimeoutError):
            await client.connect(0.1)
