from __future__ import annotations

from dataclasses import replace

import pytest

from diffserve.core import WorkerInfo
from services.controller.membership import Membership

WORKER = WorkerInfo(worker_id="w", address="h:1", device="cpu")


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def membership(clock: Clock) -> Membership:
    return Membership(5.0, clock)


def took_notice(membership: Membership) -> bool:
    """Whether something changed since the last call."""
    was_set = membership.changed.is_set()
    membership.changed.clear()
    return was_set


def test_joining_wakes_and_renewing_does_not(membership: Membership, clock: Clock) -> None:
    membership.renew(WORKER, "one")
    assert took_notice(membership)
    clock.now_s += 4.0
    membership.renew(WORKER, "one")
    assert not took_notice(membership)
    clock.now_s += 4.0
    membership.expire()
    assert membership.workers() == (WORKER,)
    assert membership.next_expiry_s() == clock.now_s + 1.0


@pytest.mark.parametrize(
    "change", [{"address": "h:2"}, {"resident": ("v",)}, {"is_draining": True}, {"device": "cuda"}]
)
def test_what_a_plan_depends_on_wakes(membership: Membership, change: dict[str, object]) -> None:
    membership.renew(WORKER, "one")
    took_notice(membership)
    membership.renew(replace(WORKER, **change), "one")
    assert took_notice(membership)


def test_a_restarted_worker_wakes(membership: Membership) -> None:
    membership.renew(WORKER, "one")
    took_notice(membership)
    membership.renew(WORKER, "two")
    assert took_notice(membership)


def test_expiry(membership: Membership, clock: Clock) -> None:
    membership.renew(WORKER, "one")
    took_notice(membership)
    clock.now_s += 5.0
    membership.expire()
    assert membership.workers() == ()
    assert took_notice(membership)
    assert membership.next_expiry_s() == float("inf")


def test_leaving_counts_only_for_the_process_that_says_it(membership: Membership) -> None:
    membership.renew(WORKER, "two")
    membership.leave("w", "one")
    membership.leave("unknown", "one")
    assert membership.workers() == (WORKER,)
    membership.leave("w", "two")
    assert membership.workers() == ()


def test_restored_members_get_a_fresh_lease_and_give_way(
    membership: Membership, clock: Clock
) -> None:
    here = replace(WORKER, worker_id="here", resident=("v",))
    membership.renew(here, "one")
    membership.restore([replace(here, resident=()), WORKER])
    assert membership.workers() == (here, WORKER)
    clock.now_s += 4.9
    membership.expire()
    assert len(membership.workers()) == 2
    took_notice(membership)
    membership.renew(WORKER, "any")
    assert not took_notice(membership)


def test_time_in_which_we_were_deaf_does_not_count(membership: Membership, clock: Clock) -> None:
    membership.renew(WORKER, "one")
    clock.now_s += 60.0
    membership.extend(58.0)
    membership.expire()
    assert membership.workers() == (WORKER,)
    clock.now_s += 3.0
    membership.expire()
    assert membership.workers() == ()


def test_an_operators_drain_lasts_until_resumed_or_restarted(membership: Membership) -> None:
    membership.renew(WORKER, "one")
    membership.set_drained("w", drained=True)
    membership.renew(WORKER, "one")
    assert membership.workers()[0].is_draining
    membership.set_drained("w", drained=False)
    assert not membership.workers()[0].is_draining
    membership.set_drained("w", drained=True)
    membership.renew(WORKER, "two")
    assert not membership.workers()[0].is_draining
    membership.set_drained("unknown", drained=True)
    membership.set_resident("unknown", ["v"])


def test_resuming_does_not_wait_for_the_workers_next_word(membership: Membership) -> None:
    membership.renew(replace(WORKER, is_draining=True), "one")
    membership.set_drained("w", drained=False)
    assert not membership.workers()[0].is_draining


def test_residency_can_be_told_ahead_of_a_renewal(membership: Membership) -> None:
    membership.renew(WORKER, "one")
    took_notice(membership)
    membership.set_resident("w", ["v"])
    assert membership.workers()[0].resident == ("v",)
    assert took_notice(membership)
