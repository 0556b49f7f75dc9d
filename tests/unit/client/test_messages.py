"""Wishes as requests: what no field can hold is refused by the name that the caller knows."""

from __future__ import annotations

from typing import Any

import pytest

from diffserve.client import Wish
from diffserve.client.messages import request_of
from diffserve.core import Preference, Priority
from diffserve.errors import InputError
from diffserve.rpc.v1 import common_pb2, generation_pb2


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("prompt", 3, "must be text, not 3"),
        ("prompt", "\udcff", "must be Unicode text, not '\\udcff'"),
        ("negative_prompt", None, "must be text, not None"),
        ("seed", 1.5, "must be a whole number, not 1.5"),
        ("seed", 2**63, "must be a whole number from 0 to 9223372036854775807, not " + str(2**63)),
        ("width", "64", "must be a whole number, not '64'"),
        ("height", 2**31, "must be a whole number from 0 to 2147483647, not 2147483648"),
        ("num_inference_steps", None, "must be a whole number, not None"),
        ("guidance_scale", "7", "must be a number, not '7'"),
        ("deadline_s", "3", "must be a number, not '3'"),
        ("cascade", 1, "must be text, not 1"),
        ("tenant", b"\xff", "must be Unicode text, not b'\\xff'"),
        ("preference", None, "must be one of auto, light, heavy, not None"),
        ("preference", "HEAVY", "must be one of auto, light, heavy, not 'HEAVY'"),
        ("priority", 2, "must be one of high, normal, low, not 2"),
        ("priority", "urgent", "must be one of high, normal, low, not 'urgent'"),
        ("query_id", 7, "must be text, not 7"),
        ("n", 0, "must be 1 to 10, not 0"),
        ("n", 11, "must be 1 to 10, not 11"),
        ("n", "2", "must be a whole number, not '2'"),
        ("n", 1.5, "must be a whole number, not 1.5"),
        ("seed", "x" * 1000, "must be a whole number, not '" + "x" * 59 + "…"),
    ],
)
def test_a_wrong_value_is_refused_by_its_field(field: str, value: Any, problem: str) -> None:
    values: dict[str, Any] = {"prompt": "an owl", field: value}
    with pytest.raises(InputError) as caught:
        request_of(Wish(**values), "q")
    assert (caught.value.field, caught.value.problem) == (field, problem)


@pytest.mark.parametrize("preference", ["heavy", Preference.HEAVY])
@pytest.mark.parametrize("priority", ["high", Priority.HIGH])
def test_enumerations_may_be_given_as_text(preference: Any, priority: Any) -> None:
    request = request_of(Wish(prompt="an owl", preference=preference, priority=priority), "q")
    assert request.preference == common_pb2.PREFERENCE_HEAVY
    assert request.priority == generation_pb2.PRIORITY_HIGH


def test_unset_fields_stay_absent() -> None:
    request = request_of(Wish(prompt="an owl"), "q")
    assert not request.HasField("deadline_s")
    assert not request.parameters.HasField("seed")
    assert not request.parameters.HasField("guidance_scale")
