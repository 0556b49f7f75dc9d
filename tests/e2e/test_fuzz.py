"""Whatever clients send over either protocol, the answer is theirs to act on: no 5xx, no death."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error, response_schema_conformance

from diffserve.rpc.status import from_bytes
from diffserve.rpc.streams import split
from diffserve.rpc.v1 import common_pb2, generation_pb2
from diffserve.rpc.v1.generation_pb2_grpc import ImageGenerationStub
from tests.e2e.stack import Stack, running_stack

TRUE_5XX = {503, 504}
"""Nobody to draw it now; not drawn by the deadline that the request set."""
CODES = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAVAILABLE,
}
"""What a request may be answered with besides an image."""
NUM_GRPC, NUM_HTTP = 200, 100
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
"""What the document allows, and what it does not."""
MODEST = settings(
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
INT32 = st.integers(-(2**31), 2**31 - 1)
NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
TEXTS = st.one_of(st.just("an owl"), st.text(max_size=40), st.just("x" * 5000))


def mostly(usual: st.SearchStrategy[Any], *rest: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return the usual in most cases, so that several fields are valid at once."""
    return st.one_of(usual, usual, usual, *rest)


PARAMETERS = st.fixed_dictionaries(
    {"prompt": mostly(st.just("an owl"), TEXTS)},
    optional={
        "negative_prompt": TEXTS,
        "seed": mostly(st.integers(0, 9), st.integers(-(2**63), 2**63 - 1)),
        "width": mostly(st.sampled_from([0, 64]), INT32),
        "height": mostly(st.sampled_from([0, 64]), INT32),
        "num_inference_steps": mostly(st.integers(0, 4), INT32),
        "guidance_scale": mostly(st.just(1.0), NUMBERS),
        "output_format": mostly(st.sampled_from(["", "png", "webp"]), TEXTS),
    },
)
REQUESTS = st.fixed_dictionaries(
    {"parameters": PARAMETERS},
    optional={
        "cascade_id": mostly(st.sampled_from(["", "mock"]), TEXTS),
        "preference": mostly(st.integers(0, 3), INT32),
        "deadline_s": mostly(st.just(2.0), NUMBERS),
        "query_id": mostly(st.sampled_from(["", "again"]), TEXTS),
        "n": mostly(st.integers(0, 3), INT32),
        "priority": mostly(st.integers(0, 3), INT32),
        "tenant": mostly(st.just("somebody"), TEXTS),
    },
)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("fuzz")
    with running_stack(directory, "--catalog=mock", "--workers=2") as running:
        pids = {name: running.pid(name) for name in running.ready["pids"]}
        yield running
        assert {name: running.pid(name) for name in pids} == pids, "a service was started again"
        assert draws(running)


def draws(stack: Stack) -> bool:
    """Return whether an ordinary request still gets an image."""
    request = urllib.request.Request(
        f"{stack.http}/v1/images/generations",
        json.dumps({"prompt": "an owl"}).encode(),
        {"Content-Type": "application/json", "Accept": "image/png"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return bool(answer.read().startswith(b"\x89PNG"))


def message_of(fields: dict[str, Any]) -> generation_pb2.GenerateRequest:
    parameters = common_pb2.GenerationParameters(**fields["parameters"])
    return generation_pb2.GenerateRequest(**{**fields, "parameters": parameters})


def test_any_grpc_request_gets_an_image_or_an_error_that_names_the_fault(stack: Stack) -> None:
    with grpc.insecure_channel(stack.door) as channel:
        stub = ImageGenerationStub(channel)  # type: ignore[no-untyped-call,unused-ignore]

        @given(fields=REQUESTS, streams=st.booleans())
        @settings(MODEST, max_examples=NUM_GRPC)
        def fuzz(fields: dict[str, Any], streams: bool) -> None:
            try:
                request = message_of(fields)
            except (UnicodeEncodeError, ValueError):
                return  # cannot be put on the wire at all
            try:
                if streams:
                    assert list(stub.GenerateStream(request, timeout=10))
                else:
                    assert stub.Generate(request, timeout=10).image.data
            except grpc.RpcError as error:
                names_the_fault(error.code(), str(error.details()), every(fields))

        fuzz()
    assert draws(stack)


def names_the_fault(code: grpc.StatusCode, details: str, names: set[str]) -> None:
    assert code in CODES, (code, details)
    assert details
    assert "metadata" not in details, "the answer was too long to be read"
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        named = details.split(":")[0].removeprefix("parameters.")
        assert named in names, details


CALLS = st.lists(
    st.tuples(st.integers(0, 3), st.one_of(st.none(), st.just("leave"), REQUESTS)), max_size=6
)


def test_any_calls_on_one_stream_are_each_over_once(stack: Stack) -> None:
    with grpc.insecure_channel(stack.door) as channel:
        stub = ImageGenerationStub(channel)  # type: ignore[no-untyped-call,unused-ignore]

        @given(calls=CALLS, is_joined=st.booleans())
        @settings(MODEST, max_examples=NUM_GRPC)
        def fuzz(calls: list[tuple[int, Any]], is_joined: bool) -> None:
            messages = []
            for call_id, kind in calls:
                message = generation_pb2.GenerateManyRequest(call_id=call_id)
                try:
                    if kind == "leave":
                        message.leave.SetInParent()
                    elif kind is not None:
                        message.begin.CopyFrom(message_of(kind))
                except (UnicodeEncodeError, ValueError):
                    continue
                messages.append(message)
            num_left = sum(message.HasField("leave") for message in messages)
            if is_joined and messages:
                messages[0].also.extend(messages[1:])
                del messages[1:]
            names = {"call", "call_id"}
            for _, kind in calls:
                names |= every(kind) if isinstance(kind, dict) else set()
            replies = [
                reply
                for message in stub.GenerateMany(iter(messages), timeout=20)
                for reply in split(message)
            ]
            for reply in replies:
                if not reply.HasField("response"):
                    code, error = from_bytes(reply.status)
                    names_the_fault(code, str(error), names)
            num_begun = sum(1 for m in messages for part in split(m) if not part.HasField("leave"))
            assert num_begun - num_left <= len(replies) <= num_begun

        fuzz()
    assert draws(stack)


def every(fields: dict[str, Any]) -> set[str]:
    return {*fields, *fields["parameters"]}


def test_bytes_that_are_no_message_harm_nobody(stack: Stack) -> None:
    with grpc.insecure_channel(stack.door) as channel:
        call = channel.unary_unary(
            "/diffserve.rpc.v1.ImageGeneration/Generate",
            request_serializer=bytes,
            response_deserializer=bytes,
        )
        for junk in (b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f", b"\x00"):
            with pytest.raises(grpc.RpcError):
                call(junk, timeout=10)
    assert draws(stack)


def test_the_openapi_document_holds_for_whatever_is_sent(stack: Stack) -> None:
    schema = schemathesis.openapi.from_url(f"{stack.http}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) >= 6
    for operation in operations:

        @given(case=st.one_of([operation.as_strategy(generation_mode=mode) for mode in MODES]))
        @settings(MODEST, max_examples=NUM_HTTP if operation.method == "post" else 8)
        def fuzz(case: Any) -> None:
            answer = case.call(timeout=15)
            if answer.status_code not in TRUE_5XX:
                checks = [not_a_server_error, response_schema_conformance]
                case.validate_response(answer, checks=checks)

        fuzz()
    assert draws(stack)


ODD_BODIES = (
    b"",
    b"{",
    b"null",
    b"[]",
    b'"owl"',
    b'{"prompt": "\\ud800"}',
    b'{"prompt": "owl", "n": 1e400}',
    b'{"prompt": "owl", "seed": 99999999999999999999999}',
    b'{"prompt": "owl", "guidance_scale": NaN}',
    b'{"prompt": "owl", "size": "100000x10000"}',
    b'{"prompt": "owl", "num_inference_steps": 1000000}',
    b'{"prompt": "' + b"x" * 1_000_000 + b'"}',
    b"\xff\xfe\x00",
    b"[" * 20_000,
)


@pytest.mark.parametrize("path", ["/v1/images/generations", "/api/generate"])
@pytest.mark.parametrize("body", ODD_BODIES, ids=range(len(ODD_BODIES)))
def test_odd_bodies_are_the_clients_fault(stack: Stack, path: str, body: bytes) -> None:
    request = urllib.request.Request(stack.http + path, body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=10)
    with caught.value as answer:
        assert 400 <= answer.code < 500, answer.code
        assert json.loads(answer.read())["error"]["message"]
