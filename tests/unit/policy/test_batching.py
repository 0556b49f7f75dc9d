"""Batches: as many as meet the tightest deadline, alike, within the cap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from diffserve.core import Priority, Query
from diffserve.policy.batching import (
    HeavyChoice,
    HeavyPool,
    LightPool,
    batching_pays,
    heavy_batch,
    next_batch,
)
from diffserve.policy.queues import DeadlineQueue
from diffserve.profiles.latency import LatencyProfile
from tests.unit.policy.harness import LIGHT, make_query

HEAVY = LatencyProfile({1: 1.0, 2: 1.2, 4: 2.0})


def ids(queries: object) -> list[str]:
    return [query.query_id for query in queries]  # type: ignore[attr-defined]


def light_batch(
    waiting: list[Query], *, cap: int, margin_s: float = 0.0, num_workers: float = 1.0
) -> tuple[Query, ...]:
    """Choose among queries at time 0."""
    queue = DeadlineQueue()
    for query in waiting:
        queue.push(query, 0.0)
    pool = LightPool(queue=queue, profile=LIGHT, batch_size_max=cap, num_workers=num_workers)
    return next_batch(pool, margin_s, 0.0)


def test_nothing_waits_nothing_runs() -> None:
    assert light_batch([], cap=4) == ()


def test_a_lone_query_does_not_wait_for_company() -> None:
    assert ids(light_batch([make_query("a")], cap=4)) == ["a"]


def test_cap_and_profile_bound_the_batch() -> None:
    waiting = [make_query(f"q{i}") for i in range(9)]
    assert len(light_batch(waiting, cap=3)) == 3
    assert len(light_batch(waiting, cap=99)) == LIGHT.batch_size_max


@pytest.mark.parametrize(("num_idle", "expected"), [(1, 4), (2, 3), (3, 2), (9, 1)])
def test_what_waits_is_shared_out_among_idle_workers(num_idle: int, expected: int) -> None:
    queue = DeadlineQueue()
    for index in range(5):
        queue.push(make_query(f"q{index}"), 0.0)
    pool = LightPool(
        queue=queue, profile=LIGHT, batch_size_max=4, num_workers=9.0, num_idle=num_idle
    )
    assert len(next_batch(pool, 0.0, 0.0)) == expected


def test_batch_stops_growing_where_the_tightest_deadline_would_break() -> None:
    waiting = [make_query("tight", slo_s=0.16), make_query("b"), make_query("c")]
    assert ids(light_batch(waiting, cap=4)) == [
        "tight",
        "b",
    ]  # 3 take 0.2 s


def test_answers_are_planned_a_margin_before_the_deadline() -> None:
    waiting = [make_query("tight", slo_s=0.16), make_query("b")]
    assert ids(light_batch(waiting, cap=4, margin_s=0.02)) == ["tight"]


def test_a_head_in_a_hurry_is_left_out_where_it_would_cost_more_of_the_others_theirs() -> None:
    # Full batches of 4 are done at 0.25, 0.5 and 0.75 s; the head alone would add 0.04 s to that.
    hurried = make_query("hurried", slo_s=0.11)
    for slack_s, first in ((0.02, "q0"), (0.1, "hurried")):
        others = [make_query(f"q{i}", slo_s=0.25 * ((i + 1) // 4 + 1) + slack_s) for i in range(11)]
        batch = light_batch([hurried, *others], cap=4)
        assert batch[0].query_id == first
        assert len(batch) == (4 if first == "q0" else 1)


def test_a_late_head_still_runs_alone() -> None:
    waiting = [make_query("late", slo_s=0.01), make_query("b")]
    assert ids(light_batch(waiting, cap=4)) == ["late"]


def test_only_alike_queries_share() -> None:
    waiting = [make_query("a", compat_key="x"), make_query("b"), make_query("c", compat_key="x")]
    assert ids(light_batch(waiting, cap=4)) == ["a", "c"]


def choose(
    *waiting: tuple[str, float, float], num_workers: int = 8, num_idle: int = 1, cap: int = 4
) -> HeavyChoice:
    """Choose among (id, rank, seconds left) at time 0 with a margin of 0."""
    queue = DeadlineQueue()
    for query_id, rank, left_s in waiting:
        queue.push(make_query(query_id, slo_s=left_s), 0.0, rank)
    pool = HeavyPool(
        queue=queue,
        profile=HEAVY,
        batch_size_max=cap,
        num_workers=num_workers,
        num_idle=num_idle,
    )
    return heavy_batch(pool, margin_s=0.0, now_s=0.0)


def test_worst_image_first_among_those_that_can_wait() -> None:
    waiting = [(f"q{i}", rank, 9.0) for i, rank in enumerate([0.5, 0.1, 0.4, 0.2, 0.3])]
    assert ids(choose(*waiting).queries) == ["q1", "q3", "q4", "q2"]


def test_query_that_would_miss_the_next_worker_goes_first() -> None:
    waiting = [(f"q{i}", 0.1, 9.0) for i in range(4)]
    # The next of 8 workers is free in 2.0 / 8 = 0.25 s, and a batch of 4 takes 2 s.
    assert "urgent" in ids(choose(("urgent", 0.9, 2.2), *waiting).queries)
    assert "calm" not in ids(choose(("calm", 0.9, 2.3), *waiting).queries)


def test_late_query_does_not_shrink_the_batch_of_the_others() -> None:
    waiting = [(f"q{i}", 0.5, 9.0) for i in range(4)]
    assert len(choose(("late", 0.0, 1.5), *waiting).queries) == 4
    assert "late" not in ids(choose(("late", 0.0, 1.5), *waiting).queries)


def test_smaller_batch_when_too_few_have_the_time() -> None:
    assert len(choose(("a", 0.1, 1.3), ("b", 0.2, 1.3), ("c", 0.3, 1.3)).queries) == 2


def test_idle_workers_share_what_waits() -> None:
    waiting = [(f"q{i}", 0.5, 9.0) for i in range(4)]
    assert len(choose(*waiting, num_idle=4).queries) == 1
    assert len(choose(*waiting, num_idle=3).queries) == 2


def test_nothing_can_make_it_runs_alone_all_the_same() -> None:
    assert ids(choose(("a", 0.5, 0.1), ("b", 0.2, 0.1), num_idle=4).queries) == ["b"]


def test_last_idle_workers_wait_for_company_while_there_is_time() -> None:
    alone = choose(("a", 0.5, 4.0))
    assert alone.queries == ()
    assert alone.look_again_s == pytest.approx(4.0 - 1.2 - 0.1)
    assert ids(choose(("a", 0.5, 4.0), num_idle=3).queries) == ["a"]
    assert ids(choose(("a", 0.5, 1.25)).queries) == ["a"]
    assert ids(choose(("a", 0.5, 4.0), cap=1).queries) == ["a"]


def test_nobody_waits_where_batching_does_not_pay() -> None:
    slow = LatencyProfile({1: 1.0, 2: 2.0})
    assert batching_pays(HEAVY, 1)
    assert not batching_pays(slow, 1)
    queue = DeadlineQueue()
    queue.push(make_query("a", slo_s=9.0), 0.0, 0.5)
    pool = HeavyPool(queue=queue, profile=slow, batch_size_max=2, num_workers=8, num_idle=1)
    assert ids(heavy_batch(pool, 0.0, 0.0).queries) == ["a"]


def test_only_alike_queries_share_a_heavy_batch() -> None:
    queue = DeadlineQueue()
    for index, key in enumerate(["x", "y", "x", "y"]):
        queue.push(make_query(f"q{index}", slo_s=9.0, compat_key=key), 0.0, 0.1 * index)
    pool = HeavyPool(queue=queue, profile=HEAVY, batch_size_max=4, num_workers=1, num_idle=1)
    assert ids(heavy_batch(pool, 0.0, 0.0).queries) == ["q0", "q2"]


def test_one_of_lower_priority_that_is_due_sooner_does_not_shrink_the_batch() -> None:
    first = replace(make_query("high", slo_s=5.0), priority=Priority.HIGH)
    hurried = make_query("low, due soon", slo_s=0.12)
    last = make_query("low", slo_s=6.0)
    batch = light_batch([first, hurried, last], cap=4)
    assert [query.query_id for query in batch] == ["high", "low"]
