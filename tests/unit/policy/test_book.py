"""Queries in progress and when to look at them again."""

from __future__ import annotations

import pytest

from diffserve.core import Batch, CascadeStage, Outcome
from diffserve.policy.book import QueryBook
from diffserve.policy.progress import Phase, Progress
from tests.unit.policy.harness import make_query


def opened(book: QueryBook, query_id: str = "a") -> Progress:
    progress = Progress(make_query(query_id), Phase.LIGHT_QUEUE)
    book.open(progress)
    return progress


def test_open_and_close_are_counted() -> None:
    book = QueryBook()
    progress = opened(book)
    assert book.get("a") is progress
    with pytest.raises(AssertionError):
        opened(book)
    book.close(progress, Outcome.LIGHT)
    assert book.get("a") is None
    assert (book.ledger.num_arrivals("c"), book.ledger.num_in_progress("c")) == (1, 0)


def test_only_the_present_batch_works_for_a_query() -> None:
    book = QueryBook()
    progress = opened(book)
    assert book.running(1, "a") is None
    progress.batch = Batch(
        batch_id=2,
        worker_id="w",
        variant_id="light",
        stage=CascadeStage.LIGHT,
        query_ids=("a",),
        started_s=0.0,
    )
    assert book.running(1, "a") is None
    assert book.running(2, "a") is progress


def test_wakeups_come_in_order_and_may_ask_for_more() -> None:
    book = QueryBook()
    assert book.next_wakeup_s is None
    book.wake_at(2.0, "late")
    book.wake_at(1.0, "first")
    book.wake_at(1.0, "second")
    assert book.next_wakeup_s == 1.0
    seen = []
    for name in book.due(1.5):
        seen.append(name)
        if name == "first":
            book.wake_at(1.2, "third")
    assert seen == ["first", "second", "third"]
    assert book.next_wakeup_s == 2.0
