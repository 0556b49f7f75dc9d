"""Trace parents in metadata; what does not fit is no trace and no error."""

from __future__ import annotations

from diffserve.observability.propagation import batch_metadata, batch_parents, traceparent_of

ONE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_parents_of_a_batch_come_back_in_order() -> None:
    assert batch_parents(batch_metadata([ONE, "", ONE]), 3) == (ONE, "", ONE)


def test_metadata_that_does_not_fit_the_batch_is_left_out() -> None:
    assert batch_parents(batch_metadata([ONE, ONE]), 3) == ("", "", "")
    assert batch_parents(None, 2) == ("", "")
    assert batch_parents((("diffserve-traceparents", b"\xff"),), 1) == ("",)


def test_the_callers_parent_is_found_among_other_metadata() -> None:
    assert traceparent_of((("user-agent", "x"), ("traceparent", ONE))) == ONE
    assert traceparent_of(()) == ""
