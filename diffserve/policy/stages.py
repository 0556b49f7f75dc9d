"""Where a query waits in each stage of its cascade, and until when it may."""

from __future__ import annotations

import math
from collections.abc import Mapping

from diffserve.core import Cascade, CascadeStage, Query
from diffserve.policy.admission import PoolLoad, Refusal, admit, predicted_wait_s
from diffserve.policy.book import QueryBook
from diffserve.policy.fleet import Fleet
from diffserve.policy.pool import Pool
from diffserve.policy.progress import UNSCORED_RANK, Phase, Progress
from diffserve.policy.routing import ClassRouter

NUM_BEHIND_MAX = 64
"""Waiting queries looked at for whether a new one before them would make them late."""
HURRY_S = 1e-6
"""Rounding is no hurry."""


class Stages:
    """Moves queries into and out of the queues of the fleet's pools."""

    def __init__(
        self,
        cascades: Mapping[str, Cascade],
        fleet: Fleet,
        classes: ClassRouter,
        book: QueryBook,
        answer_margin_s: float,
    ) -> None:
        self._cascades = cascades
        self._fleet = fleet
        self._classes = classes
        self._book = book
        self._margin_s = answer_margin_s

    def pool_of(self, progress: Progress) -> Pool:
        """Return the pool that a query waits for or runs in."""
        return self.pool(progress.query, progress.stage)

    def pool(self, query: Query, stage: CascadeStage) -> Pool:
        """Return the pool of a stage of a query's cascade."""
        return self._fleet.pool(self._cascades[query.cascade_id].variant_at(stage), stage)

    def wait_s(self, progress: Progress, now_s: float) -> float:
        """Return the expected wait of a query, by priority and deadline; 0 when it runs."""
        if progress.batch is not None:
            return 0.0
        pool, query = self.pool_of(progress), progress.query
        ahead = max(0, pool.queue.num_ahead(query.deadline_s, query.priority) - 1)
        return predicted_wait_s(pool.load(ahead, now_s), pool.profile)

    def heavy_answer_s(self, query: Query, rank: float, now_s: float, num_urgent: int = 0) -> float:
        """Return the expected seconds until a query deferred now has its heavy image.

        Only worse images are ahead of it: the heavy variant serves the worst first.
        """
        heavy = self.pool(query, CascadeStage.HEAVY)
        load = heavy.load(heavy.queue.num_ranked_to(rank, query.priority) + num_urgent, now_s)
        return predicted_wait_s(load, heavy.profile) + heavy.profile.execution_s(1)

    def bypass_answer_s(self, query: Query, now_s: float) -> float:
        """Return ``heavy_answer_s`` of a query that would bypass the light variant now."""
        heavy = self.pool(query, CascadeStage.HEAVY)
        # Those that cannot wait are served before those that gain most.
        urgent_s = self._margin_s + 2.0 * heavy.full_batch_s
        num_urgent = heavy.queue.num_due_before(now_s + urgent_s)
        return self.heavy_answer_s(query, UNSCORED_RANK, now_s, num_urgent)

    def due_s(self, progress: Progress) -> float:
        """Return when a query must be answered with what there is, or draw what is quick."""
        if not progress.has_light_image:
            return min(progress.query.deadline_s, progress.light_by_s)
        return progress.query.deadline_s - self._margin_s

    def enqueue_light(self, progress: Progress, now_s: float) -> None:
        """Let a query wait for its light image."""
        progress.phase = Phase.LIGHT_QUEUE
        progress.batch = None
        progress.is_bypassed, progress.light_by_s = False, math.inf
        self.pool_of(progress).queue.push(self._classes.batchable(progress.query), now_s)

    def enqueue_heavy(self, progress: Progress, now_s: float) -> None:
        """Let a query wait for its heavy image, and be looked at when it is due."""
        progress.phase = Phase.HEAVY_QUEUE
        progress.batch = None
        self.pool_of(progress).queue.push(progress.query, now_s, progress.rank)
        self._book.wake_at(self.due_s(progress), progress.query.query_id)

    def enqueue_bypassed(self, progress: Progress, now_s: float) -> None:
        """The same without a light image: it waits as long as the light variant can save it."""
        light = self.pool(progress.query, CascadeStage.LIGHT)
        heavy = self.pool(progress.query, CascadeStage.HEAVY)
        # Twice a full batch: another one may have started just before.
        last_s = max(heavy.alone_s, 2.0 * light.full_batch_s) + self._margin_s
        progress.is_bypassed = True
        progress.light_by_s = progress.query.deadline_s - last_s
        self.enqueue_heavy(progress, now_s)

    def refusal(
        self,
        progress: Progress,
        load: PoolLoad,
        queue_length_max: int,
        usual_s: float,
        now_s: float,
    ) -> Refusal | None:
        """Return why a new query does not get in; None where it does.

        Args:
            progress: Of the query, which waits nowhere yet.
            load: Of its pool, as it finds it.
            queue_length_max: How many may wait there.
            usual_s: Seconds that queries of its cascade have.
            now_s: The caller's clock.
        """
        pool, query = self.pool_of(progress), progress.query
        return admit(
            load,
            pool.profile,
            budget_s=query.deadline_s - now_s,
            margin_s=self._margin_s,
            queue_length=len(pool.queue),
            queue_length_max=queue_length_max,
            behind_s=self._behind_s(progress, now_s),
            vacant_s=pool.vacant_s(now_s),
            is_hurried=query.deadline_s - query.arrival_s < usual_s - HURRY_S,
        )

    def _behind_s(self, progress: Progress, now_s: float) -> list[tuple[int, float]]:
        """Return those whom a new query would go before: their place after it, their seconds."""
        query = progress.query
        behind = self.pool_of(progress).queue.behind(
            query.deadline_s, query.priority, NUM_BEHIND_MAX
        )
        return [(place, other.deadline_s - self._margin_s - now_s) for place, other in behind]

    def leave(self, progress: Progress) -> None:
        """Take a query out of the queue that it waits in, if it does."""
        self.pool_of(progress).queue.remove(progress.query.query_id)
