"""Classes, bypass, time sharing and device types in the balancer, alone and all at once."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffserve.core import CascadeStage, Outcome, Preference, Query
from diffserve.profiles.latency import LatencyProfile
from tests.unit.policy import mixture
from tests.unit.policy.harness import Harness, make_query
from tests.unit.policy.mixture import PROFILES, started

THREE = {"w1": "tiny", "w2": "mid", "w3": "big"}
SLOW = {"tiny": {"slow": LatencyProfile({1: 0.3, 2: 0.45, 4: 0.75})}}


def asked(query_id: str, name: str, arrival_s: float = 0.0, **fields: object) -> Query:
    return replace(make_query(query_id, arrival_s), cascade_id=name, **fields)  # type: ignore[arg-type]


def cascade_of(harness: Harness, query_id: str) -> str:
    """Return the cascade by the variant that drew the query's light image."""
    variants = {
        launch.batch.variant_id
        for launch in harness.launches
        if query_id in launch.batch.query_ids and launch.batch.stage is CascadeStage.LIGHT
    }
    return {"tiny": "near", "mid": "far"}[variants.pop()]


# -- classes ---------------------------------------------------------------------------------


def test_a_class_is_divided_as_planned_and_counted_by_cascade() -> None:
    harness = started(THREE, shares={"near": 0.75, "far": 0.25}, fraction=0.0)
    for index in range(8):
        harness.submit(asked(f"q{index}", "k", 0.5 * index))
    harness.submit(asked("pinned", "far", 5.0))
    harness.run()
    ledger = harness.balancer.ledger
    assert (ledger.num_arrivals("near"), ledger.num_arrivals("far")) == (6, 3)
    assert cascade_of(harness, "pinned") == "far"


def test_who_asks_for_heavy_gets_the_best_one_while_the_plan_sends_others_elsewhere() -> None:
    harness = started(THREE, shares={"near": 1.0, "far": 0.0}, fraction=0.0)
    harness.submit(asked("heavy", "k", preference=Preference.HEAVY))
    harness.submit(asked("auto", "k"))
    harness.run()
    drawn = {
        q: launch.batch.variant_id for launch in harness.launches for q in launch.batch.query_ids
    }
    assert drawn == {"heavy": "big", "auto": "tiny"}
    assert harness.outcome("heavy") is Outcome.HEAVY


def test_a_variant_is_scored_where_it_is_light_and_final_where_it_is_heavy() -> None:
    harness = started({"w1": "tiny", "w2": "mid"}, fraction=0.5)
    harness.percentile = lambda query_id: 0.1 if query_id == "near" else 0.9
    harness.submit(asked("near", "near"))
    harness.submit(asked("far", "far"))
    harness.run()
    assert harness.outcome("near") is Outcome.HEAVY
    assert harness.outcome("far") is Outcome.LIGHT
    mid = [launch.batch for launch in harness.launches if launch.batch.variant_id == "mid"]
    assert {(batch.stage, batch.query_ids) for batch in mid} == {
        (CascadeStage.LIGHT, ("far",)),
        (CascadeStage.HEAVY, ("near",)),
    }


# -- bypass ----------------------------------------------------------------------------------


def test_the_hardest_prompts_go_straight_to_the_heavy_variant() -> None:
    harness = started({"w1": "tiny", "w2": "mid"}, bypass=0.2)
    for query_id, difficulty in (("easy", 0.5), ("hard", 0.9), ("unranked", None)):
        harness.submit(asked(query_id, "near", difficulty=difficulty))
    harness.percentile = lambda query_id: 0.9
    harness.run()
    assert harness.bypassed == ["hard"]
    assert harness.deferred == []
    assert {q: harness.outcome(q) for q in ("easy", "hard", "unranked")} == {
        "easy": Outcome.LIGHT,
        "hard": Outcome.HEAVY,
        "unranked": Outcome.LIGHT,
    }
    assert harness.finished_s["hard"] == pytest.approx(PROFILES["mid"].execution_s(1))


def test_without_heavy_workers_the_hardest_draw_a_light_image_too() -> None:
    harness = started({"w1": "tiny"}, bypass=0.2, fraction=0.0)
    harness.submit(asked("hard", "near", difficulty=0.9))
    harness.run()
    assert harness.bypassed == []
    assert harness.outcome("hard") is Outcome.LIGHT


def test_bypassed_query_whose_worker_dies_gets_a_light_image_in_time() -> None:
    harness = started({"w1": "tiny", "w2": "mid"}, bypass=1.0)
    harness.submit(asked("hard", "near", difficulty=0.9))
    harness.at(0.1, lambda: harness.kill("w2"))
    harness.run()
    assert harness.bypassed == ["hard"]
    assert harness.outcome("hard") in (Outcome.LIGHT, Outcome.LIGHT_FALLBACK)
    assert harness.finished_s["hard"] < 1.0


def test_bypassed_query_whose_worker_dies_runs_on_another_heavy_worker() -> None:
    harness = started({"w1": "tiny", "w2": "mid", "w3": "mid"}, bypass=1.0)
    harness.submit(asked("hard", "near", difficulty=0.9))
    harness.at(0.1, lambda: harness.kill("w2"))
    harness.run()
    assert harness.outcome("hard") is Outcome.HEAVY
    assert [launch.batch.worker_id for launch in harness.launches] == ["w2", "w3"]


def test_bypassed_query_that_waits_too_long_is_drawn_light_before_its_deadline() -> None:
    harness = started({"w1": "tiny", "w2": "mid"}, bypass=1.0, fraction=0.0)
    harness.slowness["w2"] = 30.0
    harness.submit(asked("first", "near", 0.0, difficulty=0.9))
    harness.submit(asked("second", "near", 0.1, difficulty=0.9))
    harness.percentile = lambda query_id: 0.9
    harness.run()
    assert harness.bypassed == ["first", "second"]
    assert harness.outcome("second") is Outcome.LIGHT
    assert harness.finished_s["second"] < 5.1
    assert harness.outcome("first") is Outcome.EXPIRED  # it ran, on a device that hangs


def test_bypassed_query_that_its_variant_cannot_draw_is_drawn_light() -> None:
    harness = started({"w1": "tiny", "w2": "mid"}, bypass=1.0, fraction=0.0)
    balancer = harness.balancer
    harness.perform(balancer.submit(asked("hard", "near", difficulty=0.9), 0.0))
    batch = harness.launches[0].batch
    assert batch.variant_id == "mid"
    harness.perform(balancer.failed(batch.batch_id, "hard", "out of memory", 0.1))
    assert harness.launches[1].batch.variant_id == "tiny"
    harness.run()
    assert harness.outcome("hard") is Outcome.LIGHT


def test_cancelled_bypass_leaves_its_queue() -> None:
    harness = started({"w1": "tiny", "w2": "mid"}, bypass=1.0)
    for index in range(3):
        harness.submit(asked(f"q{index}", "near", difficulty=0.9, compat_key=str(index)))
    harness.at(0.1, lambda: harness.balancer.cancel("q2", 0.1))
    harness.run()
    assert harness.outcome("q2") is Outcome.CANCELLED
    assert not any(len(pool.queue) for pool in harness.balancer.pools())


# -- time sharing ----------------------------------------------------------------------------


def test_one_worker_serves_the_whole_cascade() -> None:
    harness = started(
        {"w": "tiny"}, coresident={"w": ("mid",)}, shares={"near": 1.0, "far": 0.0}, fraction=0.5
    )
    dice = random.Random(3)
    ranks = {f"q{index:02}": dice.random() for index in range(60)}
    harness.percentile = lambda query_id: ranks[query_id]
    for index, query_id in enumerate(ranks):
        harness.submit(asked(query_id, "near", 0.5 * index))
    harness.run()
    outcomes = Counter(finish.outcome for finish in harness.finished.values())
    assert set(outcomes) == {Outcome.LIGHT, Outcome.HEAVY}
    assert 20 <= outcomes[Outcome.HEAVY] <= 40


def test_overload_of_a_shared_worker_costs_heavy_images_and_not_answers() -> None:
    harness = started(
        {"w": "tiny"},
        coresident={"w": ("mid",)},
        shares={"near": 1.0, "far": 0.0},
        fraction=0.9,
        demand_qps=10.0,
    )
    dice = random.Random(4)
    ranks = {f"q{index:03}": dice.random() for index in range(150)}
    harness.percentile = lambda query_id: ranks[query_id]
    for index, query_id in enumerate(ranks):
        harness.submit(asked(query_id, "near", 0.1 * index))
    harness.run()
    outcomes = Counter(finish.outcome for finish in harness.finished.values())
    assert outcomes[Outcome.EXPIRED] + outcomes[Outcome.REJECTED] + outcomes[Outcome.FAILED] == 0
    assert outcomes[Outcome.HEAVY] > 10


# -- device types ----------------------------------------------------------------------------


def test_fast_workers_are_used_first_and_slow_ones_are_not_overrated() -> None:
    balancer = mixture.make_balancer(SLOW)
    harness = Harness(balancer, profiles=dict(PROFILES), slowness={"a": 3.0})
    plan = mixture.plan({"a": "tiny", "b": "tiny"}, kinds={"a": "slow"}, fraction=0.0)
    harness.perform(balancer.apply_plan(plan, 0.0))
    for index in range(40):
        harness.submit(asked(f"q{index}", "near", 0.2 * index))
    harness.run()
    assert {launch.batch.worker_id for launch in harness.launches} == {"b"}
    assert balancer.pool("tiny").capacity == pytest.approx(1 + 1 / 3)


# -- everything ------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 100_000), num_queries=st.integers(1, 60), num_faults=st.integers(0, 6))
def test_every_query_has_one_outcome_and_none_is_late(
    seed: int, num_queries: int, num_faults: int
) -> None:
    dice = random.Random(seed)
    harness = Harness(mixture.make_balancer(SLOW), profiles=dict(PROFILES))
    workers = [f"w{index}" for index in range(dice.randint(0, 5))]
    for plan_id in range(1, dice.randint(2, 5)):
        when_s = 0.0 if plan_id == 1 else dice.uniform(0, 4)
        made = random_plan(dice, workers, plan_id)
        harness.at(when_s, lambda p=made: apply(harness, p))
    ranks = {f"q{i}": dice.random() for i in range(num_queries)}
    harness.percentile = lambda query_id: ranks[query_id]
    for query_id in ranks:
        query = asked(
            query_id,
            dice.choice(["k", "k", "near", "far"]),
            dice.uniform(0, 3),
            difficulty=dice.choice([None, dice.random()]),
            preference=dice.choice(list(Preference)),
        )
        query = replace(query, deadline_s=query.arrival_s + dice.choice([0.3, 1.0, 5.0]))
        harness.submit(query)
        if dice.random() < 0.1:
            when_s = query.arrival_s + dice.uniform(0, 2)
            harness.at(when_s, lambda q=query_id: harness.balancer.cancel(q, harness.now_s))
    for _ in range(num_faults if workers else 0):
        worker_id, down_s = dice.choice(workers), dice.uniform(0, 4)
        harness.at(down_s, lambda w=worker_id: harness.kill(w))
        harness.at(down_s + dice.uniform(0.1, 2), lambda w=worker_id: harness.revive(w))
    harness.run()
    check(harness, ranks)


def random_plan(dice: random.Random, workers: list[str], plan_id: int) -> object:
    variants = list(PROFILES)
    placement = {worker: dice.choice(variants) for worker in workers}
    share = dice.choice([0.0, 0.3, 1.0])
    return mixture.plan(
        placement,
        shares={"near": share, "far": 1.0 - share},
        fraction=dice.random(),
        bypass=dice.choice([0.0, 0.5]),
        demand_qps=dice.uniform(0, 10),
        coresident={
            worker: tuple(v for v in variants if v != placement[worker] and dice.random() < 0.5)
            for worker in workers
        },
        kinds={worker: dice.choice(["", "slow"]) for worker in workers},
        plan_id=plan_id,
    )


def apply(harness: Harness, plan: object) -> list[object]:
    return harness.balancer.apply_plan(plan, harness.now_s)  # type: ignore[arg-type, return-value]


def check(harness: Harness, ranks: dict[str, float]) -> None:
    """Every query ended once, everything counted, nothing left behind."""
    balancer = harness.balancer
    assert set(harness.finished) == set(ranks)
    ledger = balancer.ledger
    assert ledger.num_arrivals("near") + ledger.num_arrivals("far") == len(ranks)
    assert ledger.num_in_progress("near") == ledger.num_in_progress("far") == 0
    for query_id, finish in harness.finished.items():
        assert harness.finished_s[query_id] <= 3 + 5.0 + 1e-9, finish
    for pool in balancer.pools():
        assert len(pool.queue) == 0
        assert set(pool.idle) == set(pool.members)
        load = pool.load(0, harness.now_s)
        assert load.busy_work_s == 0.0
        assert load.num_workers == pytest.approx(pool.capacity)
