"""The load balancer's brain: a pure state machine from events to actions.

The live load balancer drives it with asyncio and gRPC, the simulator with an event heap; neither
takes a decision of its own. Every method takes the caller's clock and returns the actions to
perform, in order. One query, one outcome: a query leaves with exactly one ``Finish``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from diffserve.core import (
    Batch,
    Cascade,
    CascadeStage,
    Outcome,
    Plan,
    Preference,
    Query,
    RequestClass,
)
from diffserve.policy.actions import Abort, Action, Bypass, Defer, Finish, Launch, Shadow
from diffserve.policy.admission import Refusal, predicted_wait_s
from diffserve.policy.book import QueryBook
from diffserve.policy.bypass import bypass_reason
from diffserve.policy.cascade import LightImage, Verdict, decide
from diffserve.policy.deferral import Deferrals
from diffserve.policy.dispatch import Job, hopeless, next_job
from diffserve.policy.fleet import Fleet
from diffserve.policy.ledger import Ledger
from diffserve.policy.parameters import BalancerParameters
from diffserve.policy.pool import Pool, QueueLength, queue_lengths
from diffserve.policy.progress import Phase, Progress
from diffserve.policy.routing import ClassRouter
from diffserve.policy.shadow import ShadowRuns
from diffserve.policy.stages import Stages
from diffserve.policy.tenants import Tenants
from diffserve.profiles.curves import QualityCurve
from diffserve.profiles.latency import LatencyProfile

POOL_WAKEUP = ""
"""Stands in a wake-up for "look at the pools again"; queries have an id."""
REST_WAKEUP = "\0rest"
"""Stands for "try workers again that were busy for another load balancer"."""


class Balancer:
    """Queues, batches, cascade decisions and deadlines of one load balancer. Paper: §3."""

    def __init__(
        self,
        cascades: Mapping[str, Cascade],
        profiles: Mapping[str, LatencyProfile],
        parameters: BalancerParameters,
        *,
        quality: Mapping[str, QualityCurve],
        classes: Mapping[str, RequestClass] | None = None,
        devices: Mapping[str, Mapping[str, LatencyProfile]] | None = None,
        tenants: Tenants | None = None,
        loadbalancer_id: str = "",
    ) -> None:
        """Start without plan and workers; queries wait until there are some.

        Args:
            cascades: By ``cascade_id``.
            profiles: Starting latency profile by ``variant_id``, for the variants of every cascade
                that there is or will be.
            parameters: Limits.
            quality: By ``cascade_id``; says what a deferral gains.
            classes: Request classes by ``class_id``; every cascade can be named by itself too.
            devices: Latency profiles by ``variant_id``, then device type, where these are known.
            tenants: What each tenant may have; None: all alike and without limits.
            loadbalancer_id: Own name; a plan may lease workers to others.
        """
        # One mapping, which the parts share: all of them know what is added.
        self._cascades = dict(cascades)
        self._parameters = parameters
        self._fleet = Fleet(profiles, cascades.values(), devices, loadbalancer_id)
        self._classes = ClassRouter(self._cascades, classes or {}, quality)
        self._book = QueryBook()
        self._tenants = tenants or Tenants()
        self._stages = Stages(
            self._cascades, self._fleet, self._classes, self._book, parameters.answer_margin_s
        )
        self._batches: dict[int, Batch] = {}
        self._deferrals = Deferrals(self._cascades, quality, classes or {}, self._fleet)
        self._shadows = ShadowRuns(parameters.shadow_share)
        self._look_again_s = math.inf

    # -- what drivers ask ------------------------------------------------------------------

    @property
    def plan_id(self) -> int:
        """Plan in force; 0 before the first."""
        return self._fleet.plan.plan_id if self._fleet.plan else 0

    @property
    def next_wakeup_s(self) -> float | None:
        """When ``tick`` must be called next, if no event comes before."""
        return self._book.next_wakeup_s

    @property
    def ledger(self) -> Ledger:
        """Arrivals and outcomes by cascade."""
        return self._book.ledger

    def progress(self, query_id: str) -> Progress | None:
        """Return a query in progress, or None."""
        return self._book.get(query_id)

    def pool(self, variant_id: str, stage: CascadeStage | None = None) -> Pool:
        """Return queue, profile and workers of a variant in a stage; else in its first one."""
        return self._fleet.pool(variant_id, stage)

    def pools(self) -> tuple[Pool, ...]:
        """Return all pools, by variant."""
        return self._fleet.pools()

    def queues(self, now_s: float) -> dict[str, QueueLength]:
        """Return what waits for each variant, whatever the stage."""
        return queue_lengths(self._fleet.pools(), now_s)

    def route(self, cascade_id: str, preference: Preference = Preference.AUTO) -> str:
        """Return the cascade that shall serve the next query of a class; a cascade's id pins it.

        ``submit`` does it by itself; drivers that must know before ask here, once per query.
        """
        return self._classes.choose(cascade_id, self._fleet, preference)

    def slo_s(self, cascade_id: str) -> float:
        """Return the allowed duration in force: the plan's, or else the catalog's."""
        planned = self._fleet.planned(cascade_id)
        return (planned.slo_s if planned else 0.0) or self._cascades[cascade_id].slo_s

    def predicted_wait_s(self, query_id: str, now_s: float) -> float:
        """Return the expected wait of a waiting query; 0 when it does not wait."""
        progress = self._book.get(query_id)
        return self._stages.wait_s(progress, now_s) if progress else 0.0

    # -- events of clients -----------------------------------------------------------------

    def submit(self, query: Query, now_s: float) -> list[Action]:
        """Take in a new query, and give a worker that is idle what waits."""
        actions = self.enter(query, now_s)
        progress = self._book.get(query.query_id)  # not where it was refused
        return actions + (self._dispatch(self._stages.pool_of(progress), now_s) if progress else [])

    def enter(self, query: Query, now_s: float) -> list[Action]:
        """Queue a new query, or refuse it at once; of several ``dispatch`` follows the last."""
        if query.cascade_id not in self._cascades:
            chosen = self.route(query.cascade_id, query.preference)
            query = replace(query, cascade_id=chosen)
        progress = Progress(query, Phase.LIGHT_QUEUE)
        self._book.open(progress)
        pool = self._stages.pool_of(progress)
        load = pool.load(pool.queue.num_ahead(query.deadline_s, query.priority), now_s)
        refusal = self._tenants.arrive(query, predicted_wait_s(load, pool.profile), now_s)
        self._tenants.opened(query.tenant, now_s)
        if refusal is not None:
            return [self._refuse(progress, refusal)]
        reason = self._bypass_reason(query, now_s)
        if reason:
            return self._bypass(progress, reason, now_s)
        refusal = self._stages.refusal(
            progress, load, self._parameters.queue_length_max, self.slo_s(query.cascade_id), now_s
        )
        if refusal is not None:
            return [self._refuse(progress, refusal)]
        self._stages.enqueue_light(progress, now_s)
        self._book.wake_at(query.deadline_s, query.query_id)
        return []

    def cancel(self, query_id: str, now_s: float) -> list[Action]:
        """Forget a query whose client left: queued work vanishes, running work is aborted."""
        progress = self._book.get(query_id)
        if progress is None:
            return []
        return self._end(progress, Outcome.CANCELLED, "the client left")

    # -- events of workers -----------------------------------------------------------------

    def worker_found(self, worker_id: str, now_s: float) -> list[Action]:
        """Use a worker (again): it answers."""
        self._fleet.found(worker_id)
        return self.dispatch(now_s)

    def worker_lost(self, worker_id: str, now_s: float, *, finishes: bool = False) -> list[Action]:
        """Stop using a worker until it is found; its queries run again elsewhere.

        Not where it still ``finishes`` the batches it has, as while it drains.
        """
        self._fleet.lost(worker_id)
        if finishes:
            return self.dispatch(now_s)
        actions: list[Action] = []
        for batch in [b for b in self._batches.values() if b.worker_id == worker_id]:
            actions += self.batch_ended(batch.batch_id, now_s)
        return actions

    def device_released(self, batch_id: int, execution_s: float, now_s: float) -> list[Action]:
        """Reuse a worker whose device is free; its results may still be on their way."""
        batch = self._batches.get(batch_id)
        if batch is None:
            return []
        is_stopped = not any(self._book.running(batch_id, query_id) for query_id in batch.query_ids)
        if batch.is_usual and not self._shadows.is_shadow(batch_id):
            self._fleet.observe(batch, execution_s, is_stopped=is_stopped)
        self._shadows.ended(batch_id)
        actions: list[Action] = []
        for pool in self._fleet.release(batch):
            actions += self._dispatch(pool, now_s)
        return actions

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
        progress = self._book.running(batch_id, query_id)
        if progress is None:
            return []
        query = progress.query
        progress.percentile = percentile
        heavy = self._stages.pool(query, CascadeStage.HEAVY)
        slack_s = query.deadline_s - self._parameters.answer_margin_s - now_s
        is_choice = query.preference is Preference.AUTO and percentile is not None
        if is_choice:
            self._deferrals.price(query.cascade_id).image(query.cascade_id, now_s)
        elif query.preference is Preference.HEAVY:
            self._deferrals.price(query.cascade_id).certain(now_s)
        decision = decide(
            LightImage(
                preference=query.preference,
                percentile=percentile,
                deferral_fraction=self._deferrals.threshold(query.cascade_id, now_s),
                slack_s=slack_s,
                heavy_answer_s=self._stages.heavy_answer_s(query, progress.rank, now_s),
            )
        )
        is_deferred = decision.verdict is Verdict.DEFER
        if is_choice:
            self._deferrals.decided(query.cascade_id, now_s, is_deferred=is_deferred)
        if not is_deferred:
            is_accepted = decision.verdict is Verdict.ACCEPT
            outcome = Outcome.LIGHT if is_accepted else Outcome.LIGHT_FALLBACK
            shadow = self._shadow(progress, heavy, now_s) if is_accepted else []
            return [*shadow, self._finish(progress, outcome, decision.reason)]
        progress.reason = decision.reason
        self._stages.enqueue_heavy(progress, now_s)
        return [Defer(query_id, decision.reason), *self._dispatch(heavy, now_s)]

    def heavy_ready(self, batch_id: int, query_id: str, now_s: float) -> list[Action]:
        """Answer a deferred query with its heavy image."""
        progress = self._book.running(batch_id, query_id)
        if progress is None:
            return []
        return [self._finish(progress, Outcome.HEAVY, progress.reason)]

    def failed(self, batch_id: int, query_id: str, error: str, now_s: float) -> list[Action]:
        """End a query that its variant could not draw: light image if there is one.

        One that bypassed the light variant draws a light image now.
        """
        progress = self._book.running(batch_id, query_id)
        if progress is None:
            return []
        if progress.is_bypassed:
            return self._draw_light(progress, now_s)
        return [self._give_up(progress, error)]

    def batch_ended(
        self,
        batch_id: int,
        now_s: float,
        *,
        was_refused: bool = False,
        is_worker_lost: bool = False,
        busy_s: float = 0.0,
        why: str = "",
    ) -> list[Action]:
        """Close a batch: queries without a result run again, but not for ever.

        Args:
            batch_id: Which batch.
            now_s: The caller's clock.
            was_refused: The worker did not take it; that does not count as a try.
            is_worker_lost: Do not use the worker again before it is found.
            busy_s: It refused as it is busy for somebody else, and is tried again after that.
            why: What queries hear that run no more; empty: that their workers were lost.
        """
        batch = self._batches.get(batch_id)
        if batch is None:
            return []
        actions: list[Action] = []
        for query_id in batch.query_ids:
            progress = self._book.running(batch_id, query_id)
            if progress is not None:
                progress.num_retries += not was_refused
                actions += self._retry(progress, now_s, why)
        del self._batches[batch_id]
        self._shadows.ended(batch_id)
        if is_worker_lost:
            self._fleet.lost(batch.worker_id)
        if was_refused and busy_s > 0.0 and not is_worker_lost:
            self._fleet.rest(batch, now_s + busy_s)
            self._book.wake_at(now_s + busy_s, REST_WAKEUP)
        else:
            self._fleet.ended(batch)
        return actions + self.dispatch(now_s)

    # -- events of controller and clock ----------------------------------------------------

    def add_cascades(
        self,
        cascades: Mapping[str, Cascade],
        quality: Mapping[str, QualityCurve],
        classes: Mapping[str, RequestClass],
    ) -> None:
        """Serve further cascades too, by id as at the start; those that are there stay."""
        new = {c: row for c, row in cascades.items() if c not in self._cascades}
        self._cascades.update(new)
        self._fleet.add(new.values())
        self._classes.add(classes, quality)
        self._deferrals.add(new, quality, classes)

    def apply_plan(self, plan: Plan, now_s: float) -> list[Action]:
        """Follow a plan; an older one than the plan in force is ignored."""
        if plan.plan_id <= self.plan_id:
            return []
        self._fleet.follow(plan)
        self._deferrals.follow(plan, now_s)
        return self.dispatch(now_s)

    def tick(self, now_s: float) -> list[Action]:
        """Expire and fall back what is due; call at ``next_wakeup_s``."""
        actions: list[Action] = []
        for query_id in self._book.due(now_s):
            if query_id == REST_WAKEUP:
                self._fleet.wake(now_s)
                actions += self.dispatch(now_s)
                continue
            if query_id == POOL_WAKEUP:
                self._look_again_s = math.inf
                actions += self.dispatch(now_s)
                continue
            progress = self._book.get(query_id)
            if progress is None or now_s < self._stages.due_s(progress):
                continue  # ended, or a later wake-up of this query is set
            if progress.has_light_image:
                reason = f"{progress.reason}, but the heavy variant did not make it"
                actions += self._end(progress, Outcome.LIGHT_FALLBACK, reason)
            elif now_s < progress.query.deadline_s:
                actions += self._draw_light(progress, now_s)
            else:
                actions += self._end(progress, Outcome.EXPIRED, "the deadline passed")
        return actions

    # -- inside ----------------------------------------------------------------------------

    def _retry(self, progress: Progress, now_s: float, why: str) -> list[Action]:
        if progress.num_retries > self._parameters.num_retries_max:
            return [self._give_up(progress, why or "its workers were lost")]
        if progress.has_light_image:
            self._stages.enqueue_heavy(progress, now_s)
        elif progress.is_bypassed and self._bypass_reason(progress.query, now_s):
            self._stages.enqueue_bypassed(progress, now_s)
        else:
            self._stages.enqueue_light(progress, now_s)
        return []

    def _bypass_reason(self, query: Query, now_s: float) -> str:
        """Return why a query skips the light variant now; empty when it does not."""
        fraction = self._deferrals.bypass_fraction(query.cascade_id, now_s)
        if fraction <= 0.0:
            return ""
        heavy = self._stages.pool(query, CascadeStage.HEAVY)
        if len(heavy.queue) >= self._parameters.queue_length_max:
            return ""
        slack_s = query.deadline_s - self._parameters.answer_margin_s - now_s
        return bypass_reason(query, fraction, self._stages.bypass_answer_s(query, now_s), slack_s)

    def _bypass(self, progress: Progress, reason: str, now_s: float) -> list[Action]:
        """Send a new query straight to the heavy variant."""
        query_id = progress.query.query_id
        progress.reason = reason
        self._deferrals.price(progress.query.cascade_id).certain(now_s)
        self._book.wake_at(progress.query.deadline_s, query_id)
        self._stages.enqueue_bypassed(progress, now_s)
        return [Bypass(query_id, reason)]

    def _draw_light(self, progress: Progress, now_s: float) -> list[Action]:
        """Let the light variant draw a query that bypassed it."""
        self._stages.leave(progress)
        self._stages.enqueue_light(progress, now_s)
        return self._dispatch(self._stages.pool_of(progress), now_s)

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

    def _refuse(self, progress: Progress, refusal: Refusal) -> Finish:
        return replace(
            self._finish(progress, Outcome.REJECTED, refusal.reason),
            predicted_wait_s=refusal.predicted_wait_s,
            retry_after_s=refusal.retry_after_s,
            cause=refusal.cause,
        )

    def _finish(self, progress: Progress, outcome: Outcome, reason: str) -> Finish:
        self._stages.leave(progress)
        self._book.close(progress, outcome)
        self._tenants.closed(progress.query.tenant)
        return Finish(progress.query.query_id, outcome, reason)

    def dispatch(self, now_s: float) -> list[Action]:
        """Give idle workers what waits."""
        actions: list[Action] = []
        for pool in self._fleet.pools():
            actions += self._dispatch(pool, now_s)
        return actions

    def _dispatch(self, pool: Pool, now_s: float) -> list[Action]:
        """Give idle workers of a pool batches, while something waits that should not wait more."""
        actions: list[Action] = []
        while pool.idle and len(pool.queue):
            actions += self._drop_hopeless(pool, now_s)
            if not (pool.idle and len(pool.queue)):
                break
            job = next_job(pool, self._parameters.answer_margin_s, now_s)
            if isinstance(job, float):
                self._look_again_at(job)
                break
            actions.append(self._launch(job, now_s))
        return actions + self._shadows.drop(pool)

    def _shadow(self, progress: Progress, heavy: Pool, now_s: float) -> list[Action]:
        """Let an idle heavy worker draw an accepted query too, if it is picked."""
        is_choice = progress.query.preference is Preference.AUTO and progress.percentile is not None
        if not is_choice or not self._shadows.picks(heavy):
            return []
        query_id = progress.query.query_id
        batch = self._shadows.batch(self._book.next_number(), heavy, query_id, now_s)
        self._fleet.start(batch)
        self._batches[batch.batch_id] = batch
        return [Shadow(batch)]

    def _look_again_at(self, when_s: float) -> None:
        if when_s < self._look_again_s:
            self._look_again_s = when_s
            self._book.wake_at(when_s, POOL_WAKEUP)

    def _drop_hopeless(self, pool: Pool, now_s: float) -> list[Action]:
        """End queries that cannot make it; those that bypassed the light variant may yet."""
        actions: list[Action] = []
        for query in hopeless(pool, self._parameters.answer_margin_s, now_s):
            progress = self._book.get(query.query_id)
            if progress is None or progress.batch is not None:
                continue  # a light image drawn for another made room for it meanwhile
            if progress.is_bypassed:
                actions += self._draw_light(progress, now_s)
                continue
            reason = f"no {pool.variant_id} image could be ready before the deadline"
            has_image = progress.has_light_image
            outcome = Outcome.LIGHT_FALLBACK if has_image else Outcome.EXPIRED
            actions.append(self._finish(progress, outcome, reason))
        return actions

    def _launch(self, job: Job, now_s: float) -> Launch:
        batch = job.batch(self._book.next_number(), now_s)
        is_heavy = batch.stage is CascadeStage.HEAVY
        for query_id in batch.query_ids:
            progress = self._book.get(query_id)
            assert progress is not None, query_id
            job.pool.queue.remove(query_id)
            progress.phase = Phase.HEAVY_EXECUTION if is_heavy else Phase.LIGHT_EXECUTION
            progress.batch, progress.light_by_s = batch, math.inf
        self._fleet.start(batch)
        self._batches[batch.batch_id] = batch
        return Launch(batch)
