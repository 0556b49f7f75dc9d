"""What an idle worker runs next, and for whom."""

from __future__ import annotations

import pytest

from diffserve.core import CascadeStage
from diffserve.policy.dispatch import Job, hopeless, next_job, turns
from diffserve.policy.fleet import Fleet
from diffserve.profiles.latency import LatencyProfile
from tests.unit.policy.harness import make_query
from tests.unit.policy.mixture import CASCADES, PROFILES, plan

LIGHT, HEAVY = CascadeStage.LIGHT, CascadeStage.HEAVY
MARGIN_S = 0.05


def shared(*, fraction: float = 0.5) -> Fleet:
    """Return one worker that serves the whole cascade ``near``."""
    fleet = Fleet(PROFILES, [CASCADES["near"]])
    fleet.follow(plan({"w": "tiny"}, coresident={"w": ("mid",)}, fraction=fraction))
    return fleet


def push(fleet: Fleet, variant_id: str, stage: CascadeStage, *slos_s: float) -> None:
    queue = fleet.pool(variant_id, stage).queue
    for slo_s in slos_s:
        queue.push(make_query(f"{variant_id}-{len(queue)}-{slo_s}", slo_s=slo_s), 0.0)


def order(fleet: Fleet, now_s: float = 0.0) -> list[str]:
    worker = fleet.pool("tiny", LIGHT).next_idle()
    return [pool.variant_id for pool in turns(worker, MARGIN_S, now_s)]


def test_the_stage_that_must_start_soonest_goes_first() -> None:
    fleet = shared()
    push(fleet, "tiny", LIGHT, 5.0)
    push(fleet, "mid", HEAVY, 4.0)
    # The light image's part of 5 s is 0.5 s; the heavy one can wait longer.
    assert order(fleet) == ["tiny", "mid"]
    push(fleet, "mid", HEAVY, 0.7)
    assert order(fleet) == ["mid", "tiny"]


def test_heavy_work_is_held_back_while_it_would_make_a_light_image_late() -> None:
    fleet = shared()
    push(fleet, "tiny", LIGHT, 0.4)
    push(fleet, "mid", HEAVY, 0.4)
    assert order(fleet) == ["tiny"]


def test_a_light_query_that_is_lost_anyway_holds_nothing_back() -> None:
    fleet = shared()
    push(fleet, "tiny", LIGHT, 0.1)
    push(fleet, "mid", HEAVY, 5.0)
    assert set(order(fleet)) == {"tiny", "mid"}


def test_a_line_of_light_queries_counts_to_its_end() -> None:
    fleet = shared()
    push(fleet, "mid", HEAVY, 3.0)
    push(fleet, "tiny", LIGHT, *[1.0] * 8)
    assert order(fleet) == ["tiny", "mid"] or order(fleet) == ["mid", "tiny"]
    push(fleet, "tiny", LIGHT, *[1.0] * 8)
    assert order(fleet) == ["tiny"]


def test_another_idle_light_worker_lets_heavy_work_begin() -> None:
    fleet = Fleet(PROFILES, [CASCADES["near"]])
    fleet.follow(plan({"w": "tiny", "x": "tiny"}, coresident={"w": ("mid",)}))
    push(fleet, "tiny", LIGHT, 0.4)
    push(fleet, "mid", HEAVY, 0.4)
    worker = fleet.pool("mid", HEAVY).next_idle()
    assert worker.worker_id == "w"
    assert {pool.variant_id for pool in turns(worker, MARGIN_S, 0.0)} == {"mid", "tiny"}


def test_job_of_a_pool_may_be_another_pools() -> None:
    fleet = shared()
    push(fleet, "tiny", LIGHT, 5.0)
    push(fleet, "mid", HEAVY, 0.7)
    job = next_job(fleet.pool("tiny", LIGHT), MARGIN_S, 0.0)
    assert isinstance(job, Job)
    assert (job.pool.variant_id, job.worker.worker_id) == ("mid", "w")
    assert [query.query_id for query in job.queries] == ["mid-0-0.7"]


def test_batch_is_sized_by_the_speed_of_its_worker() -> None:
    slow = {"tiny": {"slow": LatencyProfile({1: 0.4, 2: 0.8, 4: 1.6})}}
    fleet = Fleet(PROFILES, [CASCADES["near"]], slow)
    fleet.follow(plan({"w": "tiny"}, kinds={"w": "slow"}))
    push(fleet, "tiny", LIGHT, *[1.0] * 4)
    job = next_job(fleet.pool("tiny", LIGHT), MARGIN_S, 0.0)
    assert isinstance(job, Job)
    assert len(job.queries) == 2


def test_last_idle_heavy_worker_says_until_when_it_waits() -> None:
    fleet = Fleet(PROFILES, [CASCADES["near"]])
    fleet.follow(plan({f"w{i}": "mid" for i in range(4)} | {"l": "tiny"}))
    pool = fleet.pool("mid", HEAVY)
    for worker in list(pool.members.values())[:3]:
        pool.occupy(worker)
    push(fleet, "mid", HEAVY, 5.0)
    until_s = next_job(pool, MARGIN_S, 0.0)
    assert isinstance(until_s, float)
    assert until_s == pytest.approx(5.0 - MARGIN_S - 0.5 - 0.1)


def test_hopeless_are_those_beyond_the_idle_workers() -> None:
    fleet = shared()
    pool = fleet.pool("tiny", LIGHT)
    push(fleet, "tiny", LIGHT, 0.05, 0.06, 5.0)
    assert [query.deadline_s for query in hopeless(pool, 0.0, 0.0)] == [0.05, 0.06]
    fleet.lost("w")
    assert len(hopeless(pool, 0.0, 0.0)) == 2
    pool.queue.remove(next(iter(pool.queue)).query_id)
    fleet.found("w")
    pool.queue.remove(next(reversed(list(pool.queue))).query_id)
    assert hopeless(pool, 0.0, 0.0) == ()
