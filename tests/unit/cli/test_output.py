"""JSON of protobuf messages and the wording of numbers."""

from __future__ import annotations

import json

import pytest

from diffserve.cli.output import duration, emit_json, joined, percent, to_document
from diffserve.rpc.v1 import admin_pb2, common_pb2, generation_pb2


def test_documents_keep_numbers_and_say_null_for_absent() -> None:
    message = generation_pb2.GenerateResponse(
        seed=2**62, image=common_pb2.Image(data=b"12345"), outcome=common_pb2.OUTCOME_HEAVY
    )
    document = json.loads(json.dumps(to_document(message)))
    assert document["seed"] == 2**62
    assert document["confidence"] is None
    assert document["image"]["data"] == 5
    assert document["outcome"] == "OUTCOME_HEAVY"
    assert document["unknown_words"] == []
    assert document["times"] is None


def test_documents_hold_every_field_maps_and_repeated_ones() -> None:
    cascade = admin_pb2.CascadeStatus(cascade_id="c", outcomes={"light": 2, "heavy": 1})
    status = admin_pb2.Status(cascades=[cascade])
    document = to_document(status)
    assert set(document) == {field.name for field in admin_pb2.Status.DESCRIPTOR.fields}
    assert document["plan"] is None
    assert document["cascades"][0]["outcomes"] == {"heavy": 1, "light": 2}
    info = admin_pb2.VariantInfo(execution_s={4: 0.5, 1: 0.25})
    assert to_document(info)["execution_s"] == {"1": 0.25, "4": 0.5}


def test_what_is_no_finite_number_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    nan, inf = float("nan"), float("inf")
    emit_json({"a": nan, "rows": [{"b": inf}, (-inf, 1.5)], "c": {1: nan}, "d": "NaN", "e": True})
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert document == {
        "a": None,
        "rows": [{"b": None}, [None, 1.5]],
        "c": {"1": None},
        "d": "NaN",
        "e": True,
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 ms"), (0.25, "250 ms"), (1.25, "1.2 s"), (300.0, "5 min"), (9000.0, "2.5 h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("fraction", "text"), [(0.0, "0 %"), (1.0, "100 %"), (0.123, "12 %"), (0.0123, "1.2 %")]
)
def test_percent(fraction: float, text: str) -> None:
    assert percent(fraction) == text


def test_joined() -> None:
    assert joined(["a", "b"]) == "a, b"
    assert joined([]) == "-"
