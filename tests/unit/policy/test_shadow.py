"""Shadow runs are as many as they should be, cost real work nothing, and are counted nowhere."""

from __future__ import annotations

import numpy as np
import pytest

from diffserve.core import Outcome, Preference, Query
from diffserve.policy.actions import Finish, Shadow
from tests.unit.policy.harness import Harness, make_balancer, make_query, plan

FLEET = {"l0": "light", "h0": "heavy", "h1": "heavy", "h2": "heavy"}


def started(
    share: float, placement: dict[str, str] | None = None, fraction: float = 0.3
) -> Harness:
    run = Harness(make_balancer(shadow_share=share))
    for action in run.balancer.apply_plan(plan(placement or FLEET, fraction=fraction), 0.0):
        raise AssertionError(action)
    return run


def load(seed: int, count: int, gap_s: float) -> tuple[list[Query], dict[str, float]]:
    generator = np.random.default_rng(seed)
    instants = np.cumsum(generator.exponential(gap_s, count)).tolist()
    ranks = generator.random(count).tolist()
    queries = [make_query(f"q{i}", at) for i, at in enumerate(instants)]
    return queries, {f"q{i}": rank for i, rank in enumerate(ranks)}


def served(share: float, seed: int, gap_s: float, count: int = 300) -> Harness:
    run = started(share)
    queries, ranks = load(seed, count, gap_s)
    run.percentile = ranks.__getitem__
    for query in queries:
        run.submit(query)
    run.run()
    return run


def test_none_by_default() -> None:
    assert not served(0.0, 0, 1.0).shadows


def test_every_tenth_accepted_query_where_workers_idle() -> None:
    run = served(0.1, 0, 5.0)
    accepted = [f for f in run.finished.values() if f.outcome is Outcome.LIGHT]
    # One that falls due while too few heavy workers idle is left out.
    assert len(accepted) // 10 - 1 <= len(run.shadows) <= len(accepted) // 10
    assert {s.batch.query_ids[0] for s in run.shadows} <= {f.query_id for f in accepted}


def test_a_shadow_is_told_before_its_query_is_answered() -> None:
    run = started(1.0)
    run.submit(make_query("q"))
    run.run()
    (shadow,) = run.shadows
    assert shadow.batch.query_ids == ("q",)
    assert run.outcome("q") is Outcome.LIGHT
    assert run.finished_s["q"] == shadow.batch.started_s


@pytest.mark.parametrize("gap_s", [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_shadows_change_no_answer(seed: int, gap_s: float) -> None:
    """Every query ends as without shadows, and as soon: dropped runs free their devices at once.

    Near saturation some get other company: batches are sized by the number of idle workers.
    """
    without, run = served(0.0, seed, gap_s), served(1.0, seed, gap_s)
    assert run.shadows
    for query_id, finish in without.finished.items():
        assert run.finished[query_id].outcome is finish.outcome
    later_s = [run.finished_s[q] - without.finished_s[q] for q in without.finished]
    assert sum(later_s) / len(later_s) < 0.01
    assert gap_s < 0.5 or max(later_s) < 1e-6
    ledger = run.balancer.ledger
    assert ledger.num_arrivals("c") == 300
    assert ledger.num_in_progress("c") == 0


def test_the_last_idle_worker_is_left_to_real_work() -> None:
    run = started(1.0, {"l0": "light", "h0": "heavy"})
    run.submit(make_query("q"))
    run.run()
    assert not run.shadows


def test_real_work_that_takes_the_last_worker_drops_the_newest_shadow() -> None:
    run = started(1.0)
    run.percentile = {"a": 0.9, "b": 0.9, "c": 0.1}.__getitem__
    for index, name in enumerate("abc"):
        run.submit(make_query(name, 0.11 * index))
    run.run()
    assert [shadow.batch.query_ids for shadow in run.shadows] == [("a",), ("b",)]
    (abort,) = run.aborts
    assert abort.query_id == "b"
    assert run.outcome("c") is Outcome.HEAVY


def test_a_plan_that_moves_the_worker_drops_its_shadow() -> None:
    run = started(1.0)
    run.submit(make_query("q"))
    run.at(0.2, lambda: run.balancer.apply_plan(plan(moved(run), plan_id=2), 0.2))
    run.run()
    assert [abort.query_id for abort in run.aborts] == ["q"]


def moved(run: Harness) -> dict[str, str]:
    """Give the shadow's worker to the light variant, alone."""
    worker_id = run.shadows[0].batch.worker_id
    return {w: "light" if w == worker_id else "heavy" for w in FLEET}


@pytest.mark.parametrize("preference", [Preference.LIGHT, Preference.HEAVY])
def test_only_queries_that_the_cascade_chose_for_are_picked(preference: Preference) -> None:
    run = started(1.0)
    run.submit(make_query("q", preference=preference))
    run.run()
    assert not run.shadows


def test_unscored_images_and_fallbacks_are_not_picked() -> None:
    run = started(1.0)
    run.percentile = lambda query_id: None
    run.submit(make_query("q"))
    run.run()
    assert not run.shadows


def test_profiles_do_not_learn_from_shadows() -> None:
    balancer = started(1.0).balancer
    for action in balancer.submit(make_query("q"), 0.0):
        batch_id = action.batch.batch_id  # type: ignore[union-attr]
    shadow, finish = balancer.light_ready(batch_id, "q", 0.9, 0.1)
    assert isinstance(shadow, Shadow)
    assert isinstance(finish, Finish)
    before = balancer.pool("heavy").profile
    assert balancer.device_released(shadow.batch.batch_id, 9.0, 9.1) == []
    assert balancer.batch_ended(shadow.batch.batch_id, 9.1) == []
    assert balancer.pool("heavy").profile is before
    assert len(balancer.pool("heavy").idle) == 3


def test_a_lost_worker_takes_its_shadow_with_it() -> None:
    run = started(1.0)
    run.submit(make_query("q"))
    run.at(0.2, lambda: run.kill(run.shadows[0].batch.worker_id))
    run.at(0.3, lambda: run.revive(run.shadows[0].batch.worker_id))
    run.run()
    assert run.outcome("q") is Outcome.LIGHT
    assert len(run.balancer.pool("heavy").idle) == 3
