"""Trace parents in metadata."""

from __future__ import annotations

from diffserve.observability.propagation import traceparent_of

ONE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_the_callers_parent_is_found_among_other_metadata() -> None:
    assert traceparent_of((("user-agent", "x"), ("traceparent", ONE))) == ONE
    assert traceparent_of(()) == ""
    assert traceparent_of(None) == ""
    assert traceparent_of((("traceparent", b"\xff"),)) == ""
