"""Whether a new query can still be answered in time. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffserve.core import RefusalCause
from diffserve.profiles.latency import LatencyProfile

SLIP = 0.02
"""Of a predicted wait, what is allowed for the time between batches and for smaller ones."""
VACANT_S_MAX = 5.0
"""A variant that nobody served for so long gets no more queries; a worker that restarts is back."""
VACANT_RETRY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLoad:
    """How busy the workers of one variant are, at one moment.

    Attributes:
        num_workers: Workers that serve the variant, in units of a reference device that serves
            nothing else: slow and time-shared ones count less than 1.
        num_idle: How many of them have a free device.
        busy_work_s: Sum over busy workers of the seconds until their device is free, in the same
            units.
        num_ahead: Waiting queries that go first.
        batch_size_max: Planned cap.
    """

    num_workers: float
    num_idle: int
    busy_work_s: float
    num_ahead: int
    batch_size_max: int


def predicted_wait_s(load: PoolLoad, profile: LatencyProfile) -> float:
    """Return the expected seconds until a new query starts to execute.

    Work ahead (running remainders and full batches of those that go first) over the number of
    workers: exact for one worker, a fluid estimate for many. Infinite without workers.
    """
    if load.num_workers == 0:
        return float("inf")
    cap = min(load.batch_size_max, profile.batch_size_max)
    batches_ahead = load.num_ahead // cap
    if load.num_idle > batches_ahead:
        return 0.0
    return (load.busy_work_s + batches_ahead * profile.execution_s(cap)) / load.num_workers


def predicted_answer_s(load: PoolLoad, profile: LatencyProfile) -> float:
    """Return the expected seconds until a new query is drawn, in a batch with those before it.

    Behind a full batch others will join it, too. Were that left out, queries would be admitted that
    make it in small batches only, these would hold up all that wait, and an overloaded pool would
    spend its time on queries that come too late.
    """
    cap = min(load.batch_size_max, profile.batch_size_max)
    size = load.num_ahead + 1 if load.num_ahead < cap else cap
    return (1.0 + SLIP) * predicted_wait_s(load, profile) + profile.execution_s(size)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a query is refused at the door, and what would help.

    Attributes:
        reason: One sentence.
        predicted_wait_s: Expected seconds until an answer.
        retry_after_s: When a retry may succeed.
        cause: Which limit it met.
    """

    reason: str
    predicted_wait_s: float
    retry_after_s: float
    cause: RefusalCause = RefusalCause.DEADLINE


def admit(
    load: PoolLoad,
    profile: LatencyProfile,
    *,
    budget_s: float,
    margin_s: float,
    queue_length: int,
    queue_length_max: int,
    behind_s: Sequence[tuple[int, float]] = (),
    vacant_s: float = 0.0,
    is_hurried: bool = False,
) -> Refusal | None:
    """Return None to admit, or the refusal.

    An idle worker that nobody else waits for takes every query that has the usual time: if the
    profile were wrong, only execution can tell. With no worker at all the query may wait: one may
    come back soon.

    Args:
        load: As the query finds it.
        profile: Of its variant.
        budget_s: Seconds that it has.
        margin_s: Of these, what is kept for the answer once the image is drawn.
        queue_length: Queries waiting, and how many may.
        queue_length_max: See ``queue_length``.
        behind_s: Some of those whom it would go before, in order of service, the last among them:
            how many it would go before up to each, itself included, and the seconds that each has
            without the margin. They were admitted: it may not cost any its deadline.
        vacant_s: Seconds for which no worker has served the variant.
        is_hurried: Its client gives it less time than its cascade does.
    """
    if queue_length >= queue_length_max:
        wait_s = predicted_wait_s(load, profile)
        refusal = _refusal(f"the queue holds {queue_length} queries, its limit", wait_s, budget_s)
        return replace(refusal, cause=RefusalCause.QUEUE_FULL)
    if load.num_workers == 0:
        return _vacant(vacant_s, budget_s) if vacant_s >= VACANT_S_MAX else None
    if load.num_idle > queue_length and not is_hurried:
        return None
    answer_s = predicted_answer_s(load, profile) + margin_s
    if answer_s > budget_s:
        return _refusal(
            f"an answer would take {answer_s:.2f} s and the deadline is in {budget_s:.2f} s",
            answer_s,
            budget_s,
        )
    if _displaces(load, profile, behind_s):
        last = replace(load, num_ahead=load.num_ahead + behind_s[-1][0])
        return _refusal(
            "an answer in time would cost a query that waits already its own",
            predicted_answer_s(last, profile),
            budget_s,
        )
    return None


def _displaces(
    load: PoolLoad, profile: LatencyProfile, behind_s: Sequence[tuple[int, float]]
) -> bool:
    """Return whether one more before them makes a query late that would not have been."""
    for place, budget_s in behind_s:
        usual_s, answer_s = (
            predicted_answer_s(replace(load, num_ahead=load.num_ahead + ahead), profile)
            for ahead in (place - 1, place)
        )
        if usual_s <= budget_s < answer_s:
            return True
    return False


def _vacant(vacant_s: float, budget_s: float) -> Refusal:
    reason = f"no worker draws its light variant, and none has for {vacant_s:.0f} s"
    return Refusal(reason, max(budget_s, 1.0), VACANT_RETRY_S, RefusalCause.NO_WORKER)


def _refusal(reason: str, answer_s: float, budget_s: float) -> Refusal:
    finite_s = answer_s if answer_s != float("inf") else max(budget_s, 1.0)
    return Refusal(reason, finite_s, max(0.1, finite_s - budget_s))
