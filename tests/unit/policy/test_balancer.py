"""The balancer's state machine on virtual time: outcomes, deadlines, losses."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffserve.core import Outcome, Preference
from diffserve.policy.actions import Finish, Launch
from tests.unit.policy.harness import HEAVY, LIGHT, Harness, make_balancer, make_query, plan

TWO = {"w1": "light", "w2": "heavy"}


def started(placement: dict[str, str] | None = None, **options: float) -> Harness:
    harness = Harness(make_balancer())
    harness.perform(harness.balancer.apply_plan(plan(placement or TWO, **options), 0.0))
    return harness


def test_confident_image_is_the_answer() -> None:
    harness = started()
    harness.percentile = lambda query_id: 0.9
    harness.submit(make_query("a"))
    harness.run()
    assert harness.outcome("a") is Outcome.LIGHT
    assert harness.finished_s["a"] == pytest.approx(LIGHT.execution_s(1))


def test_poor_image_is_deferred_and_drawn_again() -> None:
    harness = started()
    harness.percentile = lambda query_id: 0.1
    harness.submit(make_query("a"))
    harness.run()
    assert harness.deferred == ["a"]
    assert harness.outcome("a") is Outcome.HEAVY
    assert harness.finished_s["a"] == pytest.approx(LIGHT.execution_s(1) + HEAVY.execution_s(1))


def test_nothing_is_left_to_look_at_once_a_query_has_its_answer() -> None:
    harness = started(fraction=0.0)
    harness.submit(make_query("a", slo_s=5.0))
    harness.submit(make_query("b", arrival_s=0.5, slo_s=5.0))
    harness.run()
    assert harness.now_s == pytest.approx(0.6)  # not 5.5, when "b" would have been late


def test_unscored_image_is_kept() -> None:
    harness = started()
    harness.percentile = lambda query_id: None
    harness.submit(make_query("a"))
    harness.run()
    assert harness.outcome("a") is Outcome.LIGHT


@pytest.mark.parametrize(
    ("preference", "expected"),
    [(Preference.LIGHT, Outcome.LIGHT), (Preference.HEAVY, Outcome.HEAVY)],
)
def test_client_may_choose_the_stage(preference: Preference, expected: Outcome) -> None:
    harness = started()
    harness.percentile = lambda query_id: 0.5 if preference is Preference.HEAVY else 0.0
    harness.submit(make_query("a", preference=preference))
    harness.run()
    assert harness.outcome("a") is expected


def test_deferral_that_cannot_be_served_becomes_a_light_fallback_at_once() -> None:
    harness = started({"w1": "light", "w2": "light"})
    harness.percentile = lambda query_id: 0.1
    harness.submit(make_query("a"))
    harness.run()
    assert harness.outcome("a") is Outcome.LIGHT_FALLBACK
    assert harness.finished_s["a"] == pytest.approx(LIGHT.execution_s(1))


def test_heavy_that_dies_gives_the_light_image_before_the_deadline() -> None:
    harness = started()
    harness.percentile = lambda query_id: 0.1
    harness.submit(make_query("a"))
    harness.at(0.5, lambda: harness.kill("w2"))
    harness.run()
    assert harness.outcome("a") is Outcome.LIGHT_FALLBACK
    assert harness.finished_s["a"] == pytest.approx(5.0 - 0.05)


def test_worker_lost_mid_batch_runs_its_queries_once_more() -> None:
    harness = started({"w1": "light", "w2": "light"}, fraction=0.0)
    harness.submit(make_query("a"))
    harness.at(0.05, lambda: harness.kill("w1"))
    harness.run()
    assert harness.outcome("a") is Outcome.LIGHT
    assert [launch.batch.worker_id for launch in harness.launches] == ["w1", "w2"]


def test_worker_that_finishes_what_it_has_gets_nothing_new() -> None:
    harness = started({"w1": "light", "w2": "light"}, fraction=0.0)
    harness.submit(make_query("a"))
    harness.at(0.05, lambda: harness.balancer.worker_lost("w1", 0.05, finishes=True))
    harness.submit(make_query("b", arrival_s=0.06))
    harness.submit(make_query("c", arrival_s=0.07))
    harness.run()
    assert {harness.outcome(name) for name in "abc"} == {Outcome.LIGHT}
    assert [launch.batch.worker_id for launch in harness.launches] == ["w1", "w2", "w2"]


def test_batches_with_wishes_teach_nothing() -> None:
    harness = started({"w1": "light"}, fraction=0.0)
    for index, is_usual in enumerate((False, True)):
        query = replace(make_query(f"q{index}", arrival_s=float(index)), is_usual=is_usual)
        harness.perform(harness.balancer.submit(query, query.arrival_s))
        batch = harness.launches[-1].batch
        harness.perform(harness.balancer.cancel(query.query_id, index + 0.5))
        harness.perform(harness.balancer.device_released(batch.batch_id, 4.0, index + 0.5))
        harness.perform(harness.balancer.batch_ended(batch.batch_id, index + 0.5))
        expected_s = 4.0 if is_usual else 0.1
        assert harness.balancer.pool("light").profile.execution_s(1) == pytest.approx(expected_s)
        harness.busy.clear()


def test_query_that_loses_two_workers_fails() -> None:
    harness = started({"w1": "light", "w2": "light"})
    harness.submit(make_query("a"))
    harness.at(0.05, lambda: harness.kill("w1"))
    harness.at(0.10, lambda: harness.kill("w2"))
    harness.run()
    assert harness.outcome("a") is Outcome.FAILED


def test_refused_batch_is_not_a_try() -> None:
    harness = started({"w1": "light"}, fraction=0.0)
    harness.submit(make_query("a"))
    refusals = iter(range(3))

    def refuse() -> list[object]:
        batch = harness.launches[-1].batch
        harness.busy.clear()
        if next(refusals, None) is not None:
            harness.at(harness.now_s, refuse)
        return harness.balancer.batch_ended(batch.batch_id, harness.now_s, was_refused=True)

    harness.at(0.0, refuse)
    harness.run()
    assert harness.outcome("a") is Outcome.LIGHT
    assert len(harness.launches) == 5


def test_query_waits_for_a_worker_to_come_back() -> None:
    harness = started({"w1": "light"}, fraction=0.0)
    harness.at(0.0, lambda: harness.kill("w1"))
    harness.submit(make_query("a", arrival_s=0.1))
    harness.at(2.0, lambda: harness.revive("w1"))
    harness.run()
    assert harness.outcome("a") is Outcome.LIGHT


def test_heavy_worker_draws_light_images_when_the_last_light_worker_is_lost() -> None:
    harness = started(TWO)
    harness.at(0.0, lambda: harness.kill("w1"))
    harness.submit(make_query("a", arrival_s=0.1))
    harness.run()
    assert harness.outcome("a") is Outcome.LIGHT
    assert harness.launches[0].batch.worker_id == "w2"


def test_without_workers_the_deadline_ends_the_wait() -> None:
    harness = started({"w1": "light"})
    harness.at(0.0, lambda: harness.kill("w1"))
    harness.submit(make_query("a", arrival_s=0.1, slo_s=1.0))
    harness.run()
    assert harness.outcome("a") is Outcome.EXPIRED
    assert harness.finished_s["a"] == pytest.approx(1.1)


def test_overload_is_refused_at_the_door_and_nobody_is_late() -> None:
    harness = started({"w1": "light"}, fraction=0.0)
    for index in range(100):
        harness.submit(make_query(f"q{index:03}", slo_s=1.0))
    harness.run()
    outcomes = Counter(finish.outcome for finish in harness.finished.values())
    assert set(outcomes) == {Outcome.LIGHT, Outcome.REJECTED}
    assert outcomes[Outcome.LIGHT] >= 12  # 1 s holds four batches of four, the last one partly
    assert all(harness.finished_s[q] <= 1.0 for q in harness.finished)
    refused = next(f for f in harness.finished.values() if f.outcome is Outcome.REJECTED)
    assert refused.predicted_wait_s > 1.0 - 0.05
    assert refused.retry_after_s > 0.0


def test_who_was_admitted_is_not_pushed_out_by_who_comes_later() -> None:
    """A burst whose deadlines fall as it arrives: each goes before all that came sooner."""
    harness = started({"w1": "light"}, fraction=0.0)
    for index in range(100):
        arrival_s = 0.0002 * index
        harness.submit(make_query(f"q{index:03}", arrival_s=arrival_s, slo_s=1.0 - 2 * arrival_s))
    harness.run()
    outcomes = Counter(finish.outcome for finish in harness.finished.values())
    assert set(outcomes) == {Outcome.LIGHT, Outcome.REJECTED}
    assert outcomes[Outcome.LIGHT] >= 12
    rejected = [q for q, finish in harness.finished.items() if finish.outcome is Outcome.REJECTED]
    assert all(harness.finished_s[q] == 0.0002 * int(q[1:]) for q in rejected)


def test_a_hurried_query_goes_before_those_that_have_time() -> None:
    harness = started({"w1": "light"}, fraction=0.0)
    for index in range(16):
        harness.submit(make_query(f"q{index:02}", slo_s=5.0))
    harness.submit(make_query("hurried", arrival_s=0.01, slo_s=0.6))
    harness.run()
    assert {finish.outcome for finish in harness.finished.values()} == {Outcome.LIGHT}
    assert harness.finished_s["hurried"] <= 0.6


def test_full_queue_refuses() -> None:
    harness = Harness(make_balancer(queue_length_max=2))
    for index in range(4):
        harness.submit(make_query(f"q{index}", slo_s=1.0))
    harness.run()
    outcomes = Counter(finish.outcome for finish in harness.finished.values())
    assert outcomes == {Outcome.EXPIRED: 2, Outcome.REJECTED: 2}


def test_cancelled_query_leaves_the_queue_and_aborts_running_work() -> None:
    harness = started({"w1": "light"})
    harness.submit(make_query("runs"))
    harness.submit(make_query("waits"))
    harness.at(0.01, lambda: harness.balancer.cancel("waits", 0.01))
    harness.at(0.02, lambda: harness.balancer.cancel("runs", 0.02))
    harness.run()
    assert {harness.outcome(q) for q in ("runs", "waits")} == {Outcome.CANCELLED}
    assert [abort.query_id for abort in harness.aborts] == ["runs"]
    assert len(harness.launches) == 1


def test_failed_image_without_fallback_fails_and_with_it_falls_back() -> None:
    balancer = make_balancer()
    harness = Harness(balancer, percentile=lambda query_id: 0.1)
    harness.perform(balancer.apply_plan(plan(TWO), 0.0))
    harness.perform(balancer.submit(make_query("a"), 0.0))
    light = harness.launches[0].batch
    harness.perform(balancer.light_ready(light.batch_id, "a", 0.1, 0.1))
    heavy = harness.launches[1].batch
    actions = balancer.failed(heavy.batch_id, "a", "out of memory", 0.2)
    assert [a.outcome for a in actions if isinstance(a, Finish)] == [Outcome.LIGHT_FALLBACK]
    harness.perform(balancer.submit(make_query("b"), 0.3))
    assert balancer.failed(light.batch_id, "b", "other batch", 0.3) == []


def test_batch_mates_share_a_compat_key() -> None:
    harness = started({"w1": "light"}, fraction=0.0)
    harness.submit(make_query("first"))
    for index, key in enumerate(["big", "small", "big", "small"]):
        harness.submit(make_query(f"q{index}", arrival_s=0.01, compat_key=key))
    harness.run()
    batches = [launch.batch.query_ids for launch in harness.launches]
    assert batches == [("first",), ("q0", "q2"), ("q1", "q3")]


def test_heavy_serves_the_worst_image_first() -> None:
    harness = started({"w1": "light", "w2": "heavy"}, fraction=1.0)
    ranks = {"a": 0.9, "b": 0.5, "c": 0.1}
    harness.percentile = lambda query_id: ranks[query_id]
    harness.balancer.pool("heavy").batch_size_max = 1
    for query_id in ranks:
        harness.submit(make_query(query_id))
    harness.at(0.0, list)
    harness.run()
    heavy = [
        launch.batch.query_ids for launch in harness.launches if launch.batch.variant_id == "heavy"
    ]
    assert heavy[1:] == [("c",), ("b",)]  # "a" came alone, while the others were still drawn


def test_older_plan_is_ignored_and_a_switch_waits_for_the_running_batch() -> None:
    harness = started({"w1": "light"}, fraction=0.0, plan_id=5)
    assert harness.balancer.apply_plan(plan({}, plan_id=4), 0.0) == []
    assert harness.balancer.plan_id == 5
    harness.submit(make_query("a"))
    both = {"w1": "heavy", "w2": "light"}
    harness.at(0.05, lambda: harness.balancer.apply_plan(plan(both, plan_id=6, fraction=0.0), 0.05))
    harness.submit(make_query("b", arrival_s=0.06))
    harness.run()
    assert {harness.outcome(q) for q in ("a", "b")} == {Outcome.LIGHT}
    assert [launch.batch.worker_id for launch in harness.launches] == ["w1", "w2"]


def test_draining_worker_gets_nothing_new() -> None:
    harness = started({"w1": "light", "w2": "light"}, fraction=0.0, draining="w1")
    for index in range(3):
        harness.submit(make_query(f"q{index}", arrival_s=0.2 * index))
    harness.run()
    assert {launch.batch.worker_id for launch in harness.launches} == {"w2"}


def test_deferred_share_is_even_over_a_handful_of_queries() -> None:
    harness = started({f"h{i}": "heavy" for i in range(60)} | {"l": "light"}, fraction=0.5)
    dice = random.Random(1)
    ranks = {f"q{i:02}": dice.random() for i in range(40)}
    harness.percentile = lambda query_id: ranks[query_id]
    for index, query_id in enumerate(ranks):
        harness.submit(make_query(query_id, arrival_s=0.2 * index))
    harness.run()
    for start in range(0, 40, 10):
        few = [harness.outcome(f"q{i:02}") for i in range(start, start + 10)]
        assert 3 <= few.count(Outcome.HEAVY) <= 7


def test_backlog_of_the_heavy_stage_makes_deferrals_rare_and_fallbacks_rarer() -> None:
    harness = started({"w1": "light", "w2": "heavy"}, fraction=0.9)
    dice = random.Random(2)
    ranks = {f"q{i:03}": dice.random() for i in range(200)}
    harness.percentile = lambda query_id: ranks[query_id]
    for index, query_id in enumerate(ranks):
        harness.submit(make_query(query_id, arrival_s=0.1 * index))
    harness.run()
    outcomes = Counter(finish.outcome for finish in harness.finished.values())
    assert set(outcomes) <= {Outcome.LIGHT, Outcome.HEAVY, Outcome.LIGHT_FALLBACK}
    assert outcomes[Outcome.HEAVY] >= 20  # 20 s hold 25 queries in batches of two
    assert outcomes[Outcome.LIGHT_FALLBACK] < outcomes[Outcome.HEAVY]


def test_last_idle_heavy_worker_waits_for_company_until_it_must_go() -> None:
    harness = started({f"h{i}": "heavy" for i in range(4)} | {"l": "light"}, fraction=1.0)
    harness.percentile = lambda query_id: 0.1
    for index in range(4):
        harness.submit(make_query(f"q{index}", arrival_s=0.2 * index, slo_s=60.0))
    harness.submit(make_query("last", arrival_s=0.8, slo_s=2.9))
    harness.run()
    heavy = [launch.batch for launch in harness.launches if launch.batch.variant_id == "heavy"]
    assert [batch.query_ids for batch in heavy[:3]] == [("q0",), ("q1",), ("q2",)]
    # The fourth query found one worker of four idle and let it wait; the fifth came along.
    assert sorted(heavy[3].query_ids) == ["last", "q3"]
    assert harness.outcome("last") is Outcome.HEAVY


def test_waiting_batch_is_launched_in_time_without_company() -> None:
    harness = started({f"h{i}": "heavy" for i in range(4)} | {"l": "light"}, fraction=1.0)
    asked = Preference.HEAVY  # whatever the price
    for index in range(3):
        query_id, arrival_s = f"q{index}", 0.0001 * index
        harness.submit(make_query(query_id, arrival_s, slo_s=60.0, preference=asked))
    harness.balancer.pool("heavy").estimator.observe(1, 30.0)
    harness.submit(make_query("alone", arrival_s=0.5, slo_s=60.0, preference=asked))
    harness.run()
    assert all(finish.outcome is Outcome.HEAVY for finish in harness.finished.values())


def test_stopped_batch_teaches_only_that_it_was_slow() -> None:
    harness = started({"w1": "light", "w2": "heavy"}, fraction=0.0)
    for when_s, execution_s, expected_s in ((0.0, 0.02, 0.1), (10.0, 0.4, 0.4)):
        harness.now_s = when_s
        harness.perform(harness.balancer.submit(make_query(f"q{when_s}", when_s), when_s))
        batch = harness.launches[-1].batch
        harness.perform(harness.balancer.cancel(f"q{when_s}", when_s))
        now_s = when_s + execution_s
        harness.perform(harness.balancer.device_released(batch.batch_id, execution_s, now_s))
        harness.perform(harness.balancer.batch_ended(batch.batch_id, now_s))
        assert harness.balancer.pool("light").profile.execution_s(1) == pytest.approx(expected_s)
        harness.busy.clear()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    num_queries=st.integers(1, 60),
    num_light=st.integers(0, 3),
    num_heavy=st.integers(0, 3),
    num_faults=st.integers(0, 6),
)
def test_every_query_has_exactly_one_outcome_and_none_is_late(
    seed: int, num_queries: int, num_light: int, num_heavy: int, num_faults: int
) -> None:
    dice = random.Random(seed)
    placement = {f"l{i}": "light" for i in range(num_light)}
    placement |= {f"h{i}": "heavy" for i in range(num_heavy)}
    harness = started(placement, fraction=dice.random())
    ranks = {f"q{i}": dice.random() for i in range(num_queries)}
    harness.percentile = lambda query_id: ranks[query_id]
    for query_id in ranks:
        slo_s = dice.choice([0.3, 1.0, 5.0])
        preference = dice.choice(list(Preference))
        query = make_query(query_id, dice.uniform(0, 3), slo_s, preference)
        harness.submit(query)
        if dice.random() < 0.1:
            when_s = query.arrival_s + dice.uniform(0, 2)
            harness.at(when_s, lambda q=query_id: harness.balancer.cancel(q, harness.now_s))
    for _ in range(num_faults if placement else 0):
        worker_id = dice.choice(sorted(placement))
        down_s = dice.uniform(0, 4)
        harness.at(down_s, lambda w=worker_id: harness.kill(w))
        harness.at(down_s + dice.uniform(0.1, 2), lambda w=worker_id: harness.revive(w))
    harness.run()
    assert set(harness.finished) == set(ranks)
    balancer = harness.balancer
    assert balancer.ledger.num_arrivals("c") == num_queries
    assert balancer.ledger.num_in_progress("c") == 0
    counted = Counter(finish.outcome for finish in harness.finished.values())
    assert {o: n for o, n in balancer.ledger.outcomes("c").items() if n} == counted
    for query_id, finish in harness.finished.items():
        if finish.outcome.is_answered:
            assert harness.finished_s[query_id] <= 3 + 5.0 + 1e-9
    for pool in balancer.pools():
        assert len(pool.queue) == 0
        assert set(pool.idle) == set(pool.members)


@pytest.mark.parametrize(
    ("placement", "sizes"),
    [({"w1": "light"}, [4]), ({"w1": "light", "w2": "light"}, [2, 2]), (TWO, [4])],
)
def test_those_that_arrive_together_are_given_to_workers_together(
    placement: dict[str, str], sizes: list[int]
) -> None:
    balancer = started(placement, fraction=0.0).balancer
    for index in range(4):
        assert balancer.enter(make_query(f"q{index}"), 0.0) == []
    launches = balancer.dispatch(0.0)
    assert all(isinstance(launch, Launch) for launch in launches)
    assert [len(launch.batch.query_ids) for launch in launches] == sizes  # type: ignore[union-attr]


def test_one_that_leaves_before_workers_are_given_anything_runs_nowhere() -> None:
    balancer = started(fraction=0.0).balancer
    for query_id in ("a", "b"):
        balancer.enter(make_query(query_id), 0.0)
    (left,) = balancer.cancel("a", 0.0)
    assert isinstance(left, Finish)
    (launch,) = balancer.dispatch(0.0)
    assert isinstance(launch, Launch)
    assert launch.batch.query_ids == ("b",)


@pytest.mark.parametrize("slo_s", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("step_s", [0.0, 1e-4, -1e-4])
@pytest.mark.parametrize("is_joint", [True, False])
def test_of_too_many_at_once_none_expires(slo_s: float, step_s: float, is_joint: bool) -> None:
    harness = started({"w1": "light"}, fraction=0.0)
    take_in = harness.balancer.enter if is_joint else harness.balancer.submit
    for index in range(200):
        harness.perform(take_in(make_query(f"q{index}", slo_s=slo_s + step_s * index), 0.0))
    harness.perform(harness.balancer.dispatch(0.0))
    harness.run()
    counts = Counter(harness.outcome(f"q{index}") for index in range(200))
    assert set(counts) == {Outcome.LIGHT, Outcome.REJECTED}
    assert counts[Outcome.LIGHT] >= 0.8 * min(200, 4 * slo_s / LIGHT.execution_s(4) - 4)
