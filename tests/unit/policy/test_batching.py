"""Batches: as many as meet the tightest deadline, alike, within the cap."""

from __future__ import annotations

from diffserve.policy.batching import heavy_order, next_batch
from tests.unit.policy.harness import LIGHT, make_query


def ids(queries: object) -> list[str]:
    return [query.query_id for query in queries]  # type: ignore[attr-defined]


def test_nothing_waits_nothing_runs() -> None:
    assert next_batch([], LIGHT, 4, now_s=0.0) == ()


def test_a_lone_query_does_not_wait_for_company() -> None:
    assert ids(next_batch([make_query("a")], LIGHT, 4, now_s=0.0)) == ["a"]


def test_cap_and_profile_bound_the_batch() -> None:
    waiting = [make_query(f"q{i}") for i in range(9)]
    assert len(next_batch(waiting, LIGHT, 3, now_s=0.0)) == 3
    assert len(next_batch(waiting, LIGHT, 99, now_s=0.0)) == LIGHT.batch_size_max


def test_batch_stops_growing_where_the_tightest_deadline_would_break() -> None:
    waiting = [make_query("tight", slo_s=0.16), make_query("b"), make_query("c")]
    assert ids(next_batch(waiting, LIGHT, 4, now_s=0.0)) == ["tight", "b"]  # 3 take 0.2 s


def test_a_late_head_still_runs_alone() -> None:
    waiting = [make_query("late", slo_s=0.01), make_query("b")]
    assert ids(next_batch(waiting, LIGHT, 4, now_s=0.0)) == ["late"]


def test_only_alike_queries_share() -> None:
    waiting = [make_query("a", compat_key="x"), make_query("b"), make_query("c", compat_key="x")]
    assert ids(next_batch(waiting, LIGHT, 4, now_s=0.0)) == ["a", "c"]


def test_heavy_order_is_urgent_first_then_worst_first() -> None:
    ranks = {"urgent-good": 0.4, "urgent-bad": 0.2, "calm-good": 0.3, "calm-bad": 0.1}
    slos = {"urgent-good": 1.0, "urgent-bad": 1.5, "calm-good": 9.0, "calm-bad": 8.0}
    waiting = [make_query(name, slo_s=slos[name]) for name in ranks]
    ordered = heavy_order(waiting, lambda query: ranks[query.query_id], round_s=1.0, now_s=0.0)
    assert ids(ordered) == ["urgent-bad", "urgent-good", "calm-bad", "calm-good"]
