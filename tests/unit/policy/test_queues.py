"""The deadline queue against a plain sorted list."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffserve.core import Priority
from diffserve.policy.queues import DUE_LEAST_S, DeadlineQueue
from tests.unit.policy.harness import make_query


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=40))
def test_order_is_deadline_then_entry_whatever_is_removed(steps: list[tuple[int, bool]]) -> None:
    queue = DeadlineQueue()
    expected: list[tuple[int, int, str]] = []
    for index, (slo_s, removes) in enumerate(steps):
        if removes and expected:
            victim = expected.pop(len(expected) // 2)
            assert queue.remove(victim[2])
            assert not queue.remove(victim[2])
        query = make_query(f"q{index}", slo_s=slo_s)
        position = queue.push(query, now_s=float(index))
        expected.append((slo_s, index, query.query_id))
        expected.sort()
        assert expected[position][2] == query.query_id
        assert [waiting.query_id for waiting in queue] == [name for _, _, name in expected]
        assert len(queue) == len(expected)


def test_num_ahead_counts_equal_deadlines_as_ahead() -> None:
    queue = DeadlineQueue()
    for index, slo_s in enumerate([1.0, 2.0, 2.0, 3.0]):
        queue.push(make_query(f"q{index}", slo_s=slo_s), now_s=0.0)
    assert queue.num_ahead(2.0) == 3


def test_oldest_age_is_that_of_the_first_to_enter() -> None:
    queue = DeadlineQueue()
    assert queue.oldest_age_s(5.0) == 0.0
    queue.push(make_query("late", slo_s=9.0), now_s=1.0)
    queue.push(make_query("early", slo_s=1.0), now_s=3.0)
    assert queue.oldest_age_s(5.0) == 4.0


def test_what_waits_must_be_served_at_the_rate_that_its_tightest_deadline_asks_for() -> None:
    queue = DeadlineQueue()
    assert queue.due_qps(0.0) == 0.0
    for index in range(10):
        queue.push(make_query(f"last{index}", slo_s=8.0), now_s=0.0)
    assert queue.due_qps(0.0) == 10 / 8.0
    assert queue.due_qps(6.0) == 10 / 2.0
    for index in range(6):
        queue.push(make_query(f"first{index}", slo_s=2.0), now_s=0.0)
    assert queue.due_qps(0.0) == 6 / 2.0
    assert queue.due_qps(1.99) == 6 / DUE_LEAST_S


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=30))
def test_order_by_rank_and_counts_against_plain_lists(entries: list[tuple[int, int]]) -> None:
    queue = DeadlineQueue()
    for index, (slo_s, rank) in enumerate(entries):
        queue.push(make_query(f"q{index}", slo_s=slo_s), 0.0, rank)
    expected = sorted((rank, slo_s, index) for index, (slo_s, rank) in enumerate(entries))
    assert [q.query_id for q in queue.by_rank()] == [f"q{index}" for *_, index in expected]
    for bound in range(6):
        assert queue.num_due_before(bound) == sum(slo_s < bound for slo_s, _ in entries)
        assert queue.num_ranked_to(bound) == sum(rank <= bound for _, rank in entries)
        between = [q.deadline_s for q in queue.due_between(1.0, bound)]
        assert between == sorted(slo_s for slo_s, _ in entries if 1 <= slo_s < bound)
    for index, (_, rank) in enumerate(entries):
        assert queue.rank(f"q{index}") == rank
        assert queue.remove(f"q{index}")
    assert list(queue.by_rank()) == []


def test_latest_deadline_is_the_last_in_line() -> None:
    queue = DeadlineQueue()
    assert queue.latest_deadline_s == float("-inf")
    queue.push(make_query("a", slo_s=3.0), 0.0)
    queue.push(make_query("b", slo_s=2.0), 0.0)
    assert queue.latest_deadline_s == 3.0


def test_service_goes_by_priority_and_then_by_deadline() -> None:
    queue = DeadlineQueue()
    for name, priority, deadline_s in (
        ("low", Priority.LOW, 1.0),
        ("late", Priority.NORMAL, 9.0),
        ("soon", Priority.NORMAL, 2.0),
        ("high", Priority.HIGH, 9.0),
    ):
        waiting = replace(make_query(name, slo_s=deadline_s), priority=priority)
        queue.push(waiting, 0.0, rank=deadline_s / 10.0)
    assert [q.query_id for q in queue] == ["high", "soon", "late", "low"]
    assert [q.query_id for q in queue.by_rank()] == ["high", "soon", "late", "low"]
    assert [q.query_id for q in queue.by_deadline()] == ["low", "soon", "late", "high"]
    assert queue.num_ahead(1.0, Priority.NORMAL) == 1
    assert queue.num_ahead(9.5, Priority.HIGH) == 1
    assert queue.num_ranked_to(0.5, Priority.NORMAL) == 2
    assert queue.remove("soon")
    assert [q.query_id for q in queue] == ["high", "late", "low"]


@pytest.mark.parametrize(
    ("count", "places"), [(99, [1, 2, 3, 4, 5, 6, 7, 8]), (8, [*range(1, 9)]), (4, [1, 2, 5, 8])]
)
def test_those_behind_are_told_with_their_places_and_the_last_among_them(
    count: int, places: list[int]
) -> None:
    queue = DeadlineQueue()
    for index in range(1, 9):
        queue.push(make_query(f"q{index}", slo_s=float(index)), 0.0)
    queue.push(replace(make_query("low", slo_s=9.0), priority=Priority.LOW), 0.0)
    behind = queue.behind(0.5, Priority.NORMAL, count)
    assert [place for place, _ in behind] == places
    assert [query.query_id for _, query in behind] == [f"q{place}" for place in places]
    assert [place for place, _ in queue.behind(7.5, Priority.NORMAL, 4)] == [1]
    assert queue.behind(8.5, Priority.NORMAL, 4) == []
