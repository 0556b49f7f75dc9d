"""Idle and busy bookkeeping of a pool."""

from __future__ import annotations

import pytest

from diffserve.core import Batch, CascadeStage
from diffserve.policy.admission import predicted_wait_s
from diffserve.policy.pool import Pool, QueueLength, Worker, queue_lengths
from diffserve.profiles.devices import DeviceProfiles
from diffserve.profiles.latency import LatencyProfile
from diffserve.profiles.online import LatencyEstimator
from tests.unit.policy.harness import LIGHT, make_query


def batch(worker_id: str, started_s: float = 0.0) -> Batch:
    return Batch(
        batch_id=1,
        worker_id=worker_id,
        variant_id="light",
        stage=CascadeStage.LIGHT,
        query_ids=("q",),
        started_s=started_s,
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


def mixed_pool() -> Pool:
    slow = LatencyProfile({1: 0.2, 2: 0.3, 4: 0.5})
    return Pool("light", LatencyEstimator(LIGHT), 4, devices=DeviceProfiles(LIGHT, {"slow": slow}))


def test_slow_workers_count_less_and_are_used_last() -> None:
    pool = mixed_pool()
    slow, fast = Worker("a", device_type="slow"), Worker("b")
    pool.join(slow)
    pool.join(fast)
    assert pool.capacity == pytest.approx(1.5)
    assert pool.load(num_ahead=0, now_s=0.0).num_workers == pytest.approx(1.5)
    assert pool.next_idle() is fast
    pool.start(fast, batch("b"))
    assert pool.next_idle() is slow
    pool.start(slow, batch("a"))
    assert slow.free_at_s == pytest.approx(2 * LIGHT.execution_s(1))
    # The remainder of a slow worker is as much work as half of it on a fast one.
    assert pool.load(num_ahead=0, now_s=0.0).busy_work_s == pytest.approx(0.1 + 0.2 / 2)
    assert pool.alone_s == LIGHT.execution_s(1)


def test_shares_change_while_a_worker_is_busy() -> None:
    pool = Pool("light", LatencyEstimator(LIGHT), 4)
    worker = Worker("w1")
    pool.join(worker)
    pool.start(worker, batch("w1"))
    pool.count_share(worker, 0.25)
    load = pool.load(num_ahead=4, now_s=0.0)
    assert (load.num_workers, load.busy_work_s) == pytest.approx((0.25, 0.025))
    # What remains of its batch takes as long as before; what follows takes four times as long.
    expected = LIGHT.execution_s(1) + 4 * LIGHT.execution_s(4)
    assert predicted_wait_s(load, LIGHT) == pytest.approx(expected)
    pool.leave(worker)
    assert pool.capacity == 0.0
    assert pool.load(num_ahead=0, now_s=0.0).busy_work_s == 0.0


def test_own_workers_are_used_before_shared_ones() -> None:
    light, heavy = (Pool(name, LatencyEstimator(LIGHT), 4) for name in ("light", "heavy"))
    shared, own = Worker("a"), Worker("b")
    shared.pools = (light, heavy)
    for pool in shared.pools:
        pool.join(shared)
    light.join(own)
    assert light.next_idle() is own
    light.occupy(own)
    assert light.next_idle() is shared
    without = light.load_without(shared, 2.0, num_ahead=0, now_s=0.0)
    assert (without.num_idle, without.busy_work_s) == (0, 2.0)


def test_queue_lengths_add_up_over_stages() -> None:
    pools = [
        Pool("v", LatencyEstimator(LIGHT), 4, stage)
        for stage in (CascadeStage.LIGHT, CascadeStage.HEAVY)
    ]
    pools[0].queue.push(make_query("a"), 1.0)
    pools[1].queue.push(make_query("b"), 0.5)
    due_qps = sum(pool.queue.due_qps(2.0) for pool in pools)
    assert queue_lengths(pools, 2.0) == {"v": QueueLength(2, 1.5, due_qps)}
