"""Who is in the deployment: worker leases, drains and the event that wakes the control loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from diffserve.core import WorkerInfo

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A registered worker.

    Attributes:
        reported: What it last said of itself.
        incarnation: Its process; empty while it is only known from before a restart of ours.
        renewed_s: When its lease was last renewed, monotonic clock.
        is_drained: An operator took it out of the plan. Belongs to the process: a new incarnation
            of the worker starts undrained.
        problem: Why it does not hold what it was last told to; empty when it does.
    """

    reported: WorkerInfo
    incarnation: str
    renewed_s: float
    is_drained: bool = False
    problem: str = ""

    @property
    def worker(self) -> WorkerInfo:
        """The worker as plans see it: draining by its own word or by an operator's."""
        return replace(self.reported, is_draining=self.reported.is_draining or self.is_drained)


class Membership:
    """The registered workers. A lease that is not renewed for ``lease_s`` ends membership.

    ``changed`` is set by everything that a plan may depend on: joining, leaving, expiry, another
    address, other resident variants, draining. A mere renewal does not set it.
    """

    def __init__(self, lease_s: float, clock: Callable[[], float]) -> None:
        self.lease_s = lease_s
        self.changed = asyncio.Event()
        self._clock = clock
        self._members: dict[str, Member] = {}

    def members(self) -> tuple[Member, ...]:
        """Return all members, by id."""
        return tuple(self._members[worker_id] for worker_id in sorted(self._members))

    def workers(self) -> tuple[WorkerInfo, ...]:
        """Return all members as plans see them, by id."""
        return tuple(member.worker for member in self.members())

    def get(self, worker_id: str) -> Member | None:
        """Return one member, or None."""
        return self._members.get(worker_id)

    def age_s(self, member: Member) -> float:
        """Return the seconds since a member's last renewal."""
        return self._clock() - member.renewed_s

    def renew(self, worker: WorkerInfo, incarnation: str) -> None:
        """Register a worker or renew its lease."""
        before = self._members.get(worker.worker_id)
        is_same_process = before is not None and before.incarnation in (incarnation, "")
        member = Member(
            reported=worker,
            incarnation=incarnation,
            renewed_s=self._clock(),
            is_drained=before is not None and is_same_process and before.is_drained,
            problem=before.problem if before is not None and is_same_process else "",
        )
        if not is_same_process:
            verb = "joined" if before is None else "restarted"
            logger.info(
                "worker %s %s at %s (%s)",
                *(worker.worker_id, verb, worker.address, worker.device),
                extra={"worker_id": worker.worker_id},
            )
        self._put(member)

    def leave(self, worker_id: str, incarnation: str) -> None:
        """End a lease now.

        The farewell of an earlier process of the same slot is ignored: in a rolling restart it may
        arrive after the new one has registered.
        """
        member = self._members.get(worker_id)
        if member is not None and member.incarnation in (incarnation, ""):
            self._remove(worker_id, "left")

    def expire(self) -> None:
        """Remove members whose lease ran out."""
        for member in self.members():
            if self.age_s(member) >= self.lease_s:
                self._remove(member.reported.worker_id, "lost: its lease ran out")

    def next_expiry_s(self) -> float:
        """Return the instant at which the next lease runs out; infinity without members."""
        first = min((m.renewed_s for m in self._members.values()), default=float("inf"))
        return first + self.lease_s

    def extend(self, seconds: float) -> None:
        """Lengthen every lease by time during which this process could not hear renewals."""
        for worker_id, member in self._members.items():
            self._members[worker_id] = replace(member, renewed_s=member.renewed_s + seconds)

    def restore(self, workers: Sequence[WorkerInfo]) -> None:
        """Add members known from before a restart, with a fresh lease; newer word wins."""
        for worker in workers:
            if worker.worker_id not in self._members:
                self._put(Member(reported=worker, incarnation="", renewed_s=self._clock()))

    def set_drained(self, worker_id: str, *, drained: bool) -> None:
        """Take a member out of the plan, or back in. Unknown ids are ignored."""
        member = self._members.get(worker_id)
        if member is None:
            return
        # A resumed worker still counts as draining by its own last word; do not wait for the next.
        reported = member.reported if drained else replace(member.reported, is_draining=False)
        self._put(replace(member, is_drained=drained, reported=reported))

    def set_resident(self, worker_id: str, resident: Sequence[str]) -> None:
        """Take in which variants a member holds, ahead of its next renewal."""
        member = self._members.get(worker_id)
        if member is not None:
            reported = replace(member.reported, resident=tuple(resident))
            self._put(replace(member, reported=reported))

    def set_problem(self, worker_id: str, problem: str) -> None:
        """Remember why a member does not hold what it was told to; empty: it does."""
        member = self._members.get(worker_id)
        if member is not None:
            self._put(replace(member, problem=problem))

    def _put(self, member: Member) -> None:
        worker_id = member.reported.worker_id
        before = self._members.get(worker_id)
        self._members[worker_id] = member
        is_known = before is not None and before.incarnation in (member.incarnation, "")
        if not is_known or before is None or before.worker != member.worker:
            self.changed.set()

    def _remove(self, worker_id: str, why: str) -> None:
        del self._members[worker_id]
        self.changed.set()
        logger.info("worker %s %s", worker_id, why, extra={"worker_id": worker_id})
