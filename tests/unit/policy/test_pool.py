"""Idle and busy bookkeeping of a pool."""

from __future__ import annotations

import pytest

from diffserve.core import Batch
from diffserve.policy.pool import Pool, Worker
from diffserve.profiles.online import LatencyEstimator
from tests.unit.policy.harness import LIGHT, make_query


def batch(worker_id: str, started_s: float = 0.0) -> Batch:
    return Batch(
        batch_id=1, worker_id=worker_id, variant_id="light", query_ids=("q",), started_s=started_s
    )


def test_load_follows_start_and_release() -> None:
    pool = Pool("light", LatencyEstimator(LIGHT), 4)
    first, second = Worker("w1"), Worker("w2")
    pool.join(first)
    pool.join(second)
    pool.start(first, batch("w1"))
    busy = pool.load(num_ahead=0, now_s=0.04)
    assert (busy.num_workers, busy.num_idle) == (2, 1)
    assert busy.busy_work_s == pytest.approx(0.06)
    assert pool.load(num_ahead=0, now_s=9.0).busy_work_s == 0.0
    pool.release(first)
    assert list(pool.idle) == ["w2", "w1"]
    assert pool.load(num_ahead=0, now_s=0.0).busy_work_s == 0.0


def test_busy_worker_may_leave_and_join_elsewhere() -> None:
    pool, other = (Pool(name, LatencyEstimator(LIGHT), 4) for name in ("light", "heavy"))
    worker = Worker("w1")
    pool.join(worker)
    pool.start(worker, batch("w1"))
    pool.leave(worker)
    assert pool.load(num_ahead=0, now_s=0.0).busy_work_s == 0.0
    other.join(worker)
    assert not other.idle
    assert other.load(num_ahead=0, now_s=0.0).busy_work_s == pytest.approx(0.1)
    pool.leave(worker)  # not here any more: nothing happens


def test_queue_drains_at_the_throughput_of_all_members() -> None:
    pool = Pool("light", LatencyEstimator(LIGHT), 4)
    assert pool.drain_s == float("inf")
    pool.join(Worker("w1"))
    pool.join(Worker("w2"))
    assert pool.drain_s == 0.0
    for index in range(16):
        pool.queue.push(make_query(f"q{index}"), 0.0)
    assert pool.drain_s == pytest.approx(2 * LIGHT.execution_s(4))
