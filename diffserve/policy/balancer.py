"""The load balancer's brain: a pure state machine from events to actions.

The live load balancer drives it with asyncio and gRPC, the simulator with an event heap; neither
takes a decision of its own. Every method takes the caller's clock and returns the actions to
perform, in order. One query, one outcome: a query leaves with exactly one ``Finish``.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile

from diffserve.core import Batch, Cascade, CascadeStage, Outcome, Plan, Preference, Query
from diffserve.policy.actions import Abort, Action, Defer, Finish, Launch
from diffserve.policy.admission import admit, predicted_wait_s
from diffserve.policy.batching import HeavyPool, heavy_batch, next_batch
from diffserve.policy.cascade import LightImage, Verdict, decide
from diffserve.policy.fleet import Fleet
from diffserve.policy.pacing import Pacer, bearable_share
from diffserve.policy.pool import Pool
from diffserve.policy.progress import Phase, Progress
from diffserve.profiles.latency import LatencyProfile

POOL_WAKEUP = ""
"""Stands in a wake-up for "look at the pools again"; queries have an id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerParameters:
    """Limits of the policy.

    Attributes:
        queue_length_max: Queries waiting per variant, at most.
        answer_margin_s: Answers are planned, and light fallbacks sent, this long before the
            deadline.
        num_retries_max: How often a query that lost its worker runs again.
    """

    queue_length_max: int = 1024
    answer_margin_s: float = 0.05
    num_retries_max: int = 1


class Balancer:
    """Queues, batches, cascade decisions and deadlines of one load balancer. Paper: §3."""

    def __init__(
        self,
        cascades: Mapping[str, Cascade],
        profiles: Mapping[str, LatencyProfile],
        parameters: BalancerParameters,
    ) -> None:
        """Start without plan and workers; queries wait until there are some.

        Args:
            cascades: By ``cascade_id``.
            profiles: Starting latency profile by ``variant_id``, for every cascade's variants.
            parameters: Limits.
        """
        self._cascades = cascades
        self._parameters = parameters
        self._fleet = Fleet(profiles, (cascade.light for cascade in cascades.values()))
        self._queries: dict[str, Progress] = {}
        self._batches: dict[int, Batch] = {}
        self._pacers = {cascade_id: Pacer() for cascade_id in cascades}
        self._wakeups: list[tuple[float, int, str]] = []
        self._look_again_s = math.inf
        self._sequence = 0
        self._num_arrivals: Counter[str] = Counter()
        self._outcomes: Counter[tuple[str, Outcome]] = Counter()

    # -- what drivers ask ------------------------------------------------------------------

    @property
    def plan_id(self) -> int:
        """Plan in force; 0 before the first."""
        return self._fleet.plan.plan_id if self._fleet.plan else 0

    @property
    def next_wakeup_s(self) -> float | None:
        """When ``tick`` must be called next, if no event comes before."""
        return self._wakeups[0][0] if self._wakeups else None

    def progress(self, query_id: str) -> Progress | None:
        """Return a query in progress, or None."""
        return self._queries.get(query_id)

    def pool(self, variant_id: str) -> Pool:
        """Return queue, profile and workers of a variant."""
        return self._fleet.pool(variant_id)

    def pools(self) -> tuple[Pool, ...]:
        """Return all pools, by variant."""
        return self._fleet.pools()

    def num_arrivals(self, cascade_id: str) -> int:
        """Return how many queries arrived, rejected ones included."""
        return self._num_arrivals[cascade_id]

    def outcomes(self, cascade_id: str) -> dict[Outcome, int]:
        """Return how many queries ended in each way."""
        return {outcome: self._outcomes[cascade_id, outcome] for outcome in Outcome}

    def num_in_progress(self, cascade_id: str) -> int:
        """Return how many queries have no outcome yet."""
        return self._num_arrivals[cascade_id] - sum(self.outcomes(cascade_id).values())

    def predicted_wait_s(self, query_id: str, now_s: float) -> float:
        """Return the expected wait of a waiting query; 0 when it does not wait."""
        progress = self._queries.get(query_id)
        if progress is None or progress.batch is not None:
            return 0.0
        pool = self._pool_of(progress)
        ahead = max(0, pool.queue.num_ahead(progress.query.deadline_s) - 1)
        return predicted_wait_s(pool.load(ahead, now_s), pool.profile)

    # -- events of clients -----------------------------------------------------------------

    def submit(self, query: Query, now_s: float) -> list[Action]:
        """Take in a new query: queue it, or refuse it at once."""
        assert query.query_id not in self._queries, query.query_id
        self._num_arrivals[query.cascade_id] += 1
        progress = Progress(query, Phase.LIGHT_QUEUE)
        pool = self._pool_of(progress)
        refusal = admit(
            pool.load(pool.queue.num_ahead(query.deadline_s), now_s),
            pool.profile,
            budget_s=query.deadline_s - self._parameters.answer_margin_s - now_s,
            queue_length=len(pool.queue),
            queue_length_max=self._parameters.queue_length_max,
        )
        self._queries[query.query_id] = progress
        if refusal is not None:
            return [
                self._finish(
                    progress,
                    Outcome.REJECTED,
                    refusal.reason,
                    predicted_wait_s=refusal.predicted_wait_s,
                    retry_after_s=refusal.retry_after_s,
                )
            ]
        pool.queue.push(query, now_s)
        self._wake_at(query.deadline_s, query.query_id)
        return self._dispatch(pool, now_s)

    def cancel(self, query_id: str, now_s: float) -> list[Action]:
        """Forget a query whose client left: queued work vanishes, running work is aborted."""
        progress = self._queries.get(query_id)
        if progress is None:
            return []
        return self._end(progress, Outcome.CANCELLED, "the client left")

    # -- events of workers -----------------------------------------------------------------

    def worker_found(self, worker_id: str, now_s: float) -> list[Action]:
        """Use a worker (again): it answers."""
        self._fleet.found(worker_id)
        return self._dispatch_all(now_s)

    def worker_lost(self, worker_id: str, now_s: float) -> list[Action]:
        """Stop using a worker that does not answer; its queries run again elsewhere."""
        self._fleet.lost(worker_id)
        actions: list[Action] = []
        for batch in [b for b in self._batches.values() if b.worker_id == worker_id]:
            actions += self.batch_ended(batch.batch_id, now_s)
        return actions

    def device_released(self, batch_id: int, execution_s: float, now_s: float) -> list[Action]:
        """Reuse a worker whose device is free; its results may still be on their way."""
        batch = self._batches.get(batch_id)
        if batch is None:
            return []
        self._observe(batch, execution_s)
        pool = self._fleet.release(batch)
        return self._dispatch(pool, now_s) if pool else []

    def light_ready(
        self, batch_id: int, query_id: str, percentile: float | None, now_s: float
    ) -> list[Action]:
        """Decide on a light image: answer with it, or defer the query.

        Args:
            batch_id: Batch that drew it.
            query_id: Whose image it is.
            percentile: Rank of its confidence, 0..1; None when it was not scored.
            now_s: The caller's clock.
        """
        progress = self._running(batch_id, query_id)
        if progress is None:
            return []
        query = progress.query
        progress.percentile = percentile
        heavy = self._fleet.pool(self._cascades[query.cascade_id].heavy)
        slack_s = query.deadline_s - self._parameters.answer_margin_s - now_s
        pacer = self._pacers[query.cascade_id]
        wanted = self._deferral_target(query.cascade_id)
        decision = decide(
            LightImage(
                preference=query.preference,
                percentile=percentile,
                deferral_fraction=pacer.threshold(wanted) * _bearable_share(heavy, slack_s),
                slack_s=slack_s,
                heavy_answer_s=_heavy_answer_s(heavy, progress.rank, now_s),
            )
        )
        is_deferred = decision.verdict is Verdict.DEFER
        if query.preference is Preference.AUTO and percentile is not None:
            pacer.record(wanted, is_deferred=is_deferred)
        if not is_deferred:
            is_accepted = decision.verdict is Verdict.ACCEPT
            outcome = Outcome.LIGHT if is_accepted else Outcome.LIGHT_FALLBACK
            return [self._finish(progress, outcome, decision.reason)]
        progress.reason = decision.reason
        self._enqueue_heavy(progress, now_s)
        return [Defer(query_id, decision.reason), *self._dispatch(heavy, now_s)]

    def heavy_ready(self, batch_id: int, query_id: str, now_s: float) -> list[Action]:
        """Answer a deferred query with its heavy image."""
        progress = self._running(batch_id, query_id)
        if progress is None:
            return []
        return [self._finish(progress, Outcome.HEAVY, progress.reason)]

    def failed(self, batch_id: int, query_id: str, error: str, now_s: float) -> list[Action]:
        """End a query that its variant could not draw: light image if there is one."""
        progress = self._running(batch_id, query_id)
        if progress is None:
            return []
        return [self._give_up(progress, error)]

    def batch_ended(
        self,
        batch_id: int,
        now_s: float,
        *,
        was_refused: bool = False,
        is_worker_lost: bool = False,
    ) -> list[Action]:
        """Close a batch: queries without a result lost their worker and run again.

        Args:
            batch_id: Which batch.
            now_s: The caller's clock.
            was_refused: The worker did not take it (draining, variant not resident); that does
                not count as a try.
            is_worker_lost: Do not use the worker again before it is found.
        """
        batch = self._batches.get(batch_id)
        if batch is None:
            return []
        actions: list[Action] = []
        for query_id in batch.query_ids:
            progress = self._running(batch_id, query_id)
            if progress is not None:
                actions += self._retry(progress, now_s, is_a_try=not was_refused)
        del self._batches[batch_id]
        if is_worker_lost:
            self._fleet.lost(batch.worker_id)
        self._fleet.release(batch)
        return actions + self._dispatch_all(now_s)

    # -- events of controller and clock ----------------------------------------------------

    def apply_plan(self, plan: Plan, now_s: float) -> list[Action]:
        """Follow a plan; an older one than the plan in force is ignored."""
        if plan.plan_id <= self.plan_id:
            return []
        self._fleet.follow(plan)
        return self._dispatch_all(now_s)

    def tick(self, now_s: float) -> list[Action]:
        """Expire and fall back what is due; call at ``next_wakeup_s``."""
        actions: list[Action] = []
        while self._wakeups and self._wakeups[0][0] <= now_s:
            _, _, query_id = heapq.heappop(self._wakeups)
            if query_id == POOL_WAKEUP:
                self._look_again_s = math.inf
                actions += self._dispatch_all(now_s)
                continue
            progress = self._queries.get(query_id)
            if progress is None or now_s < self._due_s(progress):
                continue  # ended, or a later wake-up of this query is set
            if progress.has_light_image:
                reason = f"{progress.reason}, but the heavy variant did not make it"
                actions += self._end(progress, Outcome.LIGHT_FALLBACK, reason)
            else:
                actions += self._end(progress, Outcome.EXPIRED, "the deadline passed")
        return actions

    # -- inside ----------------------------------------------------------------------------

    def _pool_of(self, progress: Progress) -> Pool:
        stage = CascadeStage.HEAVY if progress.has_light_image else CascadeStage.LIGHT
        return self._fleet.pool(self._cascades[progress.query.cascade_id].variant_at(stage))

    def _deferral_target(self, cascade_id: str) -> float:
        plan = self._fleet.plan
        cascade = plan.cascades.get(cascade_id) if plan else None
        return cascade.deferral_target if cascade else 0.0

    def _running(self, batch_id: int, query_id: str) -> Progress | None:
        """Return the query if this very batch still works for it."""
        progress = self._queries.get(query_id)
        if progress is None or progress.batch is None or progress.batch.batch_id != batch_id:
            return None
        return progress

    def _due_s(self, progress: Progress) -> float:
        """Return when a query must be answered with what there is."""
        if not progress.has_light_image:
            return progress.query.deadline_s
        return progress.query.deadline_s - self._parameters.answer_margin_s

    def _wake_at(self, when_s: float, query_id: str) -> None:
        self._sequence += 1
        heapq.heappush(self._wakeups, (when_s, self._sequence, query_id))

    def _enqueue_heavy(self, progress: Progress, now_s: float) -> None:
        progress.phase = Phase.HEAVY_QUEUE
        progress.batch = None
        self._pool_of(progress).queue.push(progress.query, now_s, progress.rank)
        self._wake_at(self._due_s(progress), progress.query.query_id)

    def _retry(self, progress: Progress, now_s: float, *, is_a_try: bool) -> list[Action]:
        progress.num_retries += is_a_try
        if progress.num_retries > self._parameters.num_retries_max:
            return [self._give_up(progress, "its workers were lost")]
        if progress.has_light_image:
            self._enqueue_heavy(progress, now_s)
            return []
        progress.phase = Phase.LIGHT_QUEUE
        progress.batch = None
        self._pool_of(progress).queue.push(progress.query, now_s)
        return []

    def _give_up(self, progress: Progress, error: str) -> Finish:
        if progress.has_light_image:
            return self._finish(progress, Outcome.LIGHT_FALLBACK, f"heavy variant: {error}")
        return self._finish(progress, Outcome.FAILED, error)

    def _end(self, progress: Progress, outcome: Outcome, reason: str) -> list[Action]:
        """Finish a query wherever it stands; the answer comes first, cleaning up after."""
        batch = progress.batch
        query_id = progress.query.query_id
        actions: list[Action] = [self._finish(progress, outcome, reason)]
        if batch is not None:
            actions.append(Abort(batch.batch_id, batch.worker_id, query_id))
        return actions

    def _finish(
        self,
        progress: Progress,
        outcome: Outcome,
        reason: str,
        *,
        predicted_wait_s: float = 0.0,
        retry_after_s: float = 0.0,
    ) -> Finish:
        query = progress.query
        self._pool_of(progress).queue.remove(query.query_id)
        del self._queries[query.query_id]
        self._outcomes[query.cascade_id, outcome] += 1
        return Finish(query.query_id, outcome, reason, predicted_wait_s, retry_after_s)

    def _dispatch_all(self, now_s: float) -> list[Action]:
        actions: list[Action] = []
        for pool in self._fleet.pools():
            actions += self._dispatch(pool, now_s)
        return actions

    def _dispatch(self, pool: Pool, now_s: float) -> list[Action]:
        """Give idle workers of a pool batches, while something waits that should not wait more."""
        actions: list[Action] = []
        while pool.idle and len(pool.queue):
            actions += self._drop_hopeless(pool, now_s)
            if not len(pool.queue):
                break
            queries = self._choose(pool, now_s)
            if not queries:
                break
            actions.append(self._launch(pool, queries, now_s))
        return actions

    def _choose(self, pool: Pool, now_s: float) -> tuple[Query, ...]:
        """Return the next batch of a pool; none yet if it is worth waiting for company."""
        if not self._queries[next(iter(pool.queue)).query_id].has_light_image:
            return next_batch(pool.queue, pool.profile, pool.batch_size_max, now_s)
        choice = heavy_batch(
            HeavyPool(
                queue=pool.queue,
                profile=pool.profile,
                batch_size_max=pool.batch_size_max,
                num_workers=len(pool.members),
                num_idle=len(pool.idle),
            ),
            self._parameters.answer_margin_s,
            now_s,
        )
        if choice.look_again_s < self._look_again_s:
            self._look_again_s = choice.look_again_s
            self._wake_at(choice.look_again_s, POOL_WAKEUP)
        return choice.queries

    def _drop_hopeless(self, pool: Pool, now_s: float) -> list[Action]:
        """End queries that cannot make it, while others can use the workers instead.

        Where workers would idle they run all the same: the profile may be wrong.
        """
        actions: list[Action] = []
        alone_s = pool.profile.execution_s(1)
        late = list(takewhile(lambda query: query.deadline_s < now_s + alone_s, pool.queue))
        for query in late[: max(0, len(pool.queue) - len(pool.idle))]:
            progress = self._queries[query.query_id]
            reason = f"no {pool.variant_id} image could be ready before the deadline"
            has_image = progress.has_light_image
            outcome = Outcome.LIGHT_FALLBACK if has_image else Outcome.EXPIRED
            actions.append(self._finish(progress, outcome, reason))
        return actions

    def _observe(self, batch: Batch, execution_s: float) -> None:
        """Learn from an executed batch; one that was stopped tells only how long it took at least.

        A batch is stopped when nobody waits for it any more, mostly because it was too slow.
        """
        pool = self._fleet.pool(batch.variant_id)
        size = len(batch.query_ids)
        is_stopped = not any(self._running(batch.batch_id, q) for q in batch.query_ids)
        if not is_stopped or execution_s > pool.profile.execution_s(size):
            pool.estimator.observe(size, execution_s)

    def _launch(self, pool: Pool, queries: tuple[Query, ...], now_s: float) -> Launch:
        self._sequence += 1
        batch = Batch(
            batch_id=self._sequence,
            worker_id=next(iter(pool.idle)),
            variant_id=pool.variant_id,
            query_ids=tuple(query.query_id for query in queries),
            started_s=now_s,
        )
        for query in queries:
            progress = self._queries[query.query_id]
            pool.queue.remove(query.query_id)
            is_heavy = progress.has_light_image
            progress.phase = Phase.HEAVY_EXECUTION if is_heavy else Phase.LIGHT_EXECUTION
            progress.batch = batch
        self._fleet.start(batch)
        self._batches[batch.batch_id] = batch
        return Launch(batch)


def _bearable_share(heavy: Pool, slack_s: float) -> float:
    """Return which share of the wanted deferrals the heavy workers can bear now.

    Without heavy workers that is decided by the expected answer, which never comes.
    """
    if not heavy.members:
        return 1.0
    # Never less than the time between two free workers, else a full batch would leave no room.
    spare_s = max(slack_s - heavy.full_batch_s, heavy.full_batch_s / len(heavy.members))
    return bearable_share(heavy.drain_s, spare_s)


def _heavy_answer_s(heavy: Pool, rank: float, now_s: float) -> float:
    """Return the expected seconds until a query deferred now has its heavy image.

    Only worse images are ahead of it: the heavy variant serves the worst first.
    """
    load = heavy.load(heavy.queue.num_ranked_to(rank), now_s)
    return predicted_wait_s(load, heavy.profile) + heavy.profile.execution_s(1)
