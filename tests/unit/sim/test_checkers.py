"""Every broken rule is found; a correct run is not disturbed."""

from __future__ import annotations

import pytest

from diffserve.core import Batch, CascadeStage, Outcome, Plan
from diffserve.sim.checkers import Checkers, InvariantError


def batch(*query_ids: str, worker_id: str = "w", batch_id: int = 1) -> Batch:
    return Batch(
        batch_id=batch_id,
        worker_id=worker_id,
        variant_id="v",
        stage=CascadeStage.LIGHT,
        query_ids=query_ids,
        started_s=0.0,
    )


def plan(plan_id: int) -> Plan:
    return Plan(plan_id=plan_id, placement={}, batch_size_max={"v": 2}, cascades={})


@pytest.fixture
def checkers() -> Checkers:
    checkers = Checkers()
    checkers.planned(plan(1))
    checkers.submitted("a", 5.0)
    checkers.submitted("b", 5.0)
    return checkers


def test_correct_run(checkers: Checkers) -> None:
    checkers.launched(batch("a", "b"))
    checkers.executed(batch("a", "b"), ("v",))
    checkers.released("w")
    checkers.finished("a", Outcome.LIGHT, 1.0)
    checkers.finished("b", Outcome.HEAVY, 6.0)
    checkers.ended(1)


def test_a_cap_holds_until_another_plan_gives_one(checkers: Checkers) -> None:
    checkers.planned(Plan(plan_id=2, placement={}, batch_size_max={"other": 1}, cascades={}))
    checkers.launched(batch("a", "b"))
    checkers.planned(Plan(plan_id=3, placement={}, batch_size_max={"v": 1}, cascades={}))
    with pytest.raises(InvariantError, match="the cap is 1"):
        checkers.launched(batch("a", "b"))


def test_query_twice(checkers: Checkers) -> None:
    with pytest.raises(InvariantError, match="entered twice"):
        checkers.submitted("a", 5.0)


def test_outcome_twice(checkers: Checkers) -> None:
    checkers.finished("a", Outcome.LIGHT, 1.0)
    with pytest.raises(InvariantError, match="ended twice"):
        checkers.finished("a", Outcome.LIGHT, 1.0)


def test_query_lost(checkers: Checkers) -> None:
    checkers.finished("a", Outcome.LIGHT, 1.0)
    with pytest.raises(InvariantError, match="no outcome: b"):
        checkers.ended(0)


def test_late_answer_not_counted(checkers: Checkers) -> None:
    checkers.finished("a", Outcome.LIGHT, 9.0)
    checkers.finished("b", Outcome.EXPIRED, 9.0)
    with pytest.raises(InvariantError, match="1 were late, 0 counted"):
        checkers.ended(0)


@pytest.mark.parametrize(
    ("query_ids", "match"),
    [(("a", "b", "c"), "cap is 2"), ((), "cap is 2"), (("a", "a"), "twice"), (("x",), "has ended")],
)
def test_wrong_batches(checkers: Checkers, query_ids: tuple[str, ...], match: str) -> None:
    with pytest.raises(InvariantError, match=match):
        checkers.launched(batch(*query_ids))


def test_two_batches_on_a_device(checkers: Checkers) -> None:
    checkers.executed(batch("a"), ("v",))
    with pytest.raises(InvariantError, match="two batches"):
        checkers.executed(batch("b", batch_id=2), ("v",))


def test_variant_not_resident(checkers: Checkers) -> None:
    with pytest.raises(InvariantError, match="does not hold"):
        checkers.executed(batch("a"), ("other",))


def test_plan_ids_grow(checkers: Checkers) -> None:
    with pytest.raises(InvariantError, match="follows"):
        checkers.planned(plan(1))
