"""Drives the pure balancer with real workers: performs its actions, reports events back."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Coroutine, Sequence

import grpc

from diffserve.core import Batch, CascadeStage, Plan, Preference
from diffserve.errors import (
    WORKER_BUSY,
    AlreadyExistsError,
    DiffServeError,
    OverloadedError,
    UnavailableError,
)
from diffserve.policy.actions import Abort, Action, Bypass, Defer, Finish, Launch, Shadow
from diffserve.policy.balancer import Balancer
from diffserve.policy.leases import BUSY_MIN_S, EARLY
from diffserve.rpc.v1 import common_pb2, generation_pb2, worker_pb2
from services.loadbalancer.idempotency import Answers
from services.loadbalancer.live import Drawing, Listener, LiveQuery, Records
from services.loadbalancer.story import score_text
from services.loadbalancer.tracing import TraceWatcher
from services.loadbalancer.watching import Watcher
from services.loadbalancer.workers import Failure, WorkerClients

logger = logging.getLogger(__name__)

REFUSALS = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
"""Codes with which a worker says that it did not take a batch, if it never said ``started``."""
INVALID_BATCH = grpc.StatusCode.INVALID_ARGUMENT
"""Code of a worker that is well, and of a batch that none would run."""
EXECUTE_GRACE_S = 30.0
"""A batch may outlive its queries' deadlines by this much, then it is given up."""


class Dispatcher:
    """Owns the state of every query of this load balancer. Lives on one event loop."""

    def __init__(
        self, balancer: Balancer, workers: WorkerClients, num_records_max: int, answers: Answers
    ) -> None:
        self.balancer = balancer
        self.records = Records(num_records_max)
        self._answers = answers
        self.watchers: list[Watcher] = []
        self.tracing: TraceWatcher | None = None
        self._workers = workers
        self._live: dict[str, LiveQuery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._dispatching: asyncio.Handle | None = None
        self._wakes_s = 0.0
        self._is_draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    # -- clients ---------------------------------------------------------------------------

    def find(self, query_id: str) -> LiveQuery | None:
        """Return the query of an id, running or answered; None when the id is free.

        Raises:
            AlreadyExistsError: it was answered, and the answer is not kept any more.
        """
        now_s = time.monotonic()
        live = self._live.get(query_id) or self._answers.get(query_id, now_s)
        if live is None and self.records.is_answered(query_id):
            raise AlreadyExistsError(
                f"query_id: {query_id} was answered before and its image is not kept; use another"
            )
        return live

    def submit(self, live: LiveQuery) -> None:
        """Take in a new query, joined by its first caller; the id must be free.

        Raises:
            UnavailableError: draining.
        """
        if self._is_draining:
            raise UnavailableError("this load balancer is draining; call another one")
        query = live.query
        assert query.query_id not in self._live, query.query_id
        budget_s = query.deadline_s - query.arrival_s
        wanted = f"{live.cascade.cascade_id}, prefers {query.preference.value}"
        detail = f"{wanted}, {budget_s:.3g} s to go"
        live.story.add("arrived", query.arrival_s, self.balancer.plan_id, detail=detail)
        self._live[query.query_id] = live
        self._idle.clear()
        for watcher in self.watchers:
            watcher.arrived(live, query.arrival_s)
        actions = self.balancer.enter(query, query.arrival_s)
        progress = self.balancer.progress(query.query_id)
        if live.is_streamed and progress is not None:
            self._emit_queued(live, progress.stage, query.arrival_s)
        self._perform(actions)
        if self._dispatching is None:
            self._dispatching = asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Give idle workers what arrived together: several images of a call, calls of a message."""
        self._dispatching = None
        self._perform(self.balancer.dispatch(time.monotonic()))

    def leave(self, live: LiveQuery, listener: Listener | None) -> None:
        """Take a call off a query; the last one that leaves before the answer cancels it."""
        if live.leave(listener) and live.finish is None:
            self._perform(self.balancer.cancel(live.query.query_id, time.monotonic()))

    def record(self, query_id: str) -> generation_pb2.QueryRecord | None:
        """Return where a query stands or how it ended; None when it is not known."""
        now_s = time.monotonic()
        live = self._live.get(query_id)
        progress = self.balancer.progress(query_id)
        if live is not None and progress is not None:
            return live.account().record(progress.phase.value, now_s)
        return self.records.get(query_id, now_s)

    async def drain(self) -> None:
        """Refuse new queries; return when every accepted one has its outcome."""
        self._is_draining = True
        await self._idle.wait()

    async def close(self) -> None:
        """Stop what the dispatcher does by itself: its tasks and its timer."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for handle in (self._timer, self._dispatching):
            if handle is not None:
                handle.cancel()

    # -- plan and workers ------------------------------------------------------------------

    def apply_plan(self, plan: Plan) -> None:
        """Follow a plan, if it is newer than the one in force."""
        if plan.plan_id <= self.balancer.plan_id:
            return
        self._workers.follow(plan)
        now_s = time.monotonic()
        for watcher in self.watchers:
            watcher.planned(plan, now_s)
        self._perform(self.balancer.apply_plan(plan, now_s))

    def worker_found(self, worker_id: str) -> None:
        """Use a worker again."""
        self._perform(self.balancer.worker_found(worker_id, time.monotonic()))

    def worker_lost(self, worker_id: str, finishes: bool) -> None:
        """Stop using a worker; its queries run elsewhere, unless it finishes what it has."""
        now_s = time.monotonic()
        self._perform(self.balancer.worker_lost(worker_id, now_s, finishes=finishes))

    # -- actions ---------------------------------------------------------------------------

    def _perform(self, actions: Sequence[Action]) -> None:
        now_s = time.monotonic()
        for action in actions:
            for watcher in self.watchers:
                watcher.performed(action, now_s)
            match action:
                case Launch(batch):
                    self._launch(batch, now_s)
                case Shadow(batch):
                    self._shadow(batch, now_s)
                case Defer(query_id, reason):
                    self._defer(query_id, reason, now_s)
                case Bypass():
                    pass  # `submit` told the client where its query waits
                case Finish():
                    self._finish(action, now_s)
                case Abort(batch_id, worker_id, query_id):
                    self._spawn(self._workers.abort(worker_id, batch_id, [query_id]))
        self._arm_timer()

    def _launch(self, batch: Batch, now_s: float) -> None:
        request = worker_pb2.ExecuteRequest(
            batch_id=batch.batch_id,
            variant_id=batch.variant_id,
            plan_id=self.balancer.plan_id,
            only_if_idle=batch.only_if_idle,
        )
        for query_id in batch.query_ids:
            live = self._live[query_id]
            live.story.add(f"{batch.stage.value}_batch", now_s, request.plan_id, batch)
            waited_s = now_s - live.waiting_since_s
            is_heavy = batch.stage is CascadeStage.HEAVY
            if is_heavy:
                live.times.heavy_queue_s = waited_s
            else:
                live.times.light_queue_s = waited_s
                request.discriminator = live.cascade.discriminator
            query = self._batch_query(live, is_heavy=is_heavy, now_s=now_s)
            if is_heavy:
                _tell_light_score(query, live)
            request.queries.append(query)
            if live.is_streamed:
                request.reports_progress = True
                started = generation_pb2.StartedEvent(
                    variant_id=batch.variant_id,
                    worker_id=batch.worker_id,
                    batch_size=len(batch.query_ids),
                )
                live.emit(generation_pb2.GenerateEvent(started=started))
        self._execute(batch, request)

    def _shadow(self, batch: Batch, now_s: float) -> None:
        """Let a worker draw for calibration; its result finds no query and is dropped."""
        live = self._live[batch.query_ids[0]]
        query = self._batch_query(live, is_heavy=True, now_s=now_s)
        _tell_light_score(query, live, is_shadow=True)
        request = worker_pb2.ExecuteRequest(
            batch_id=batch.batch_id,
            variant_id=batch.variant_id,
            plan_id=self.balancer.plan_id,
            queries=[query],
        )
        self._execute(batch, request)

    def _batch_query(
        self, live: LiveQuery, *, is_heavy: bool, now_s: float
    ) -> worker_pb2.BatchQuery:
        """Return a query for the wire; step and guidance wishes are for the final variant only."""
        query = worker_pb2.BatchQuery(
            query_id=live.query.query_id,
            parameters=live.parameters,
            budget_s=max(0.0, live.query.deadline_s - now_s),
            traceparent=self.tracing.parent(live.query.query_id) if self.tracing else "",
        )
        if not is_heavy and live.query.preference is not Preference.LIGHT:
            query.parameters.ClearField("num_inference_steps")
            query.parameters.ClearField("guidance_scale")
        return query

    def _defer(self, query_id: str, reason: str, now_s: float) -> None:
        live = self._live[query_id]
        live.waiting_since_s = now_s
        live.plan_id = self.balancer.plan_id
        live.story.add("deferred", now_s, live.plan_id, detail=reason)
        live.emit_preview(reason)
        for watcher in self.watchers:
            watcher.deferred(live, now_s)
        if live.is_streamed:
            self._emit_queued(live, CascadeStage.HEAVY, now_s)

    def _finish(self, finish: Finish, now_s: float) -> None:
        live = self._live.pop(finish.query_id)
        live.finish = finish
        live.plan_id = self.balancer.plan_id
        live.story.add(finish.outcome.value, now_s, live.plan_id, detail=finish.reason)
        live.times.total_s = now_s - live.query.arrival_s
        for watcher in self.watchers:
            watcher.finished(live, now_s)
        self.records.add(live)
        live.end()
        if live.is_repeatable and finish.outcome.is_answered:
            self._answers.keep(live, now_s)
        logger.debug(
            "query %s: %s (%s)",
            *(finish.query_id, finish.outcome.value, finish.reason),
            extra={"query_id": finish.query_id, "plan_id": live.plan_id},
        )
        if not self._live:
            self._idle.set()

    def _emit_queued(self, live: LiveQuery, stage: CascadeStage, now_s: float) -> None:
        variant_id = live.cascade.variant_at(stage)
        ahead = self.balancer.pool(variant_id, stage).queue.num_ahead(
            live.query.deadline_s, live.query.priority
        )
        queued = generation_pb2.QueuedEvent(
            variant_id=variant_id,
            position=max(0, ahead - 1),
            predicted_wait_s=self.balancer.predicted_wait_s(live.query.query_id, now_s),
        )
        live.emit(generation_pb2.GenerateEvent(queued=queued))

    # -- batches ---------------------------------------------------------------------------

    def _execute(self, batch: Batch, request: worker_pb2.ExecuteRequest) -> None:
        """Have a worker run a batch; what comes back is told by events."""
        self._workers.execute(
            batch.worker_id,
            request,
            max(q.budget_s for q in request.queries) + EXECUTE_GRACE_S,
            functools.partial(self._happened, batch),
            functools.partial(self._ended, batch, request.plan_id),
        )

    def _ended(self, batch: Batch, plan_id: int, failure: Failure | None) -> None:
        was_refused = failure is not None and not failure.has_started and failure.code in REFUSALS
        busy_s = _busy_s(failure.error) if failure is not None and was_refused else 0.0
        is_invalid = failure is not None and failure.code is INVALID_BATCH
        is_worker_lost = failure is not None and busy_s == 0.0 and not is_invalid
        if failure is not None:
            logger.log(
                logging.DEBUG if busy_s > 0.0 else logging.WARNING,
                "batch %d on %s: %s %s",
                *(batch.batch_id, batch.worker_id, failure.code.name, failure.error),
                extra={
                    "batch_id": batch.batch_id,
                    "worker_id": batch.worker_id,
                    "variant_id": batch.variant_id,
                    "plan_id": plan_id,
                },
            )
            if is_worker_lost:
                self._tell_lost(batch, f"{failure.code.name}: {failure.error}")
        self._perform(
            self.balancer.batch_ended(
                batch.batch_id,
                time.monotonic(),
                was_refused=was_refused,
                is_worker_lost=is_worker_lost,
                busy_s=busy_s,
                why=f"no worker runs it: {failure.error}" if failure and is_invalid else "",
            )
        )
        if is_worker_lost:
            self._workers.suspect(batch.worker_id)

    def _happened(self, batch: Batch, event: worker_pb2.ExecuteEvent) -> None:
        match event.WhichOneof("event"):
            case "released":
                self._released(batch, event.released.execution_s)
            case "progress":
                self._progressed(batch, event.progress)
            case "result":
                self._result(batch, event.result)

    def _tell_lost(self, batch: Batch, why: str) -> None:
        for live in filter(None, map(self._live.get, batch.query_ids)):
            live.story.add("batch_lost", time.monotonic(), self.balancer.plan_id, batch, why)

    def _progressed(self, batch: Batch, steps: worker_pb2.StepProgress) -> None:
        for query_id in batch.query_ids:
            live = self._running(batch, query_id)
            if live is not None and live.is_streamed:
                progress = generation_pb2.ProgressEvent(
                    variant_id=batch.variant_id, step=steps.step, num_steps=steps.num_steps
                )
                live.emit(generation_pb2.GenerateEvent(progress=progress), is_lasting=False)

    def _running(self, batch: Batch, query_id: str) -> LiveQuery | None:
        """Return the query if this very batch works for it: its id may have been used again."""
        progress = self.balancer.progress(query_id)
        if progress is None or progress.batch is None:
            return None
        return self._live.get(query_id) if progress.batch.batch_id == batch.batch_id else None

    def _released(self, batch: Batch, execution_s: float) -> None:
        for query_id in batch.query_ids:
            live = self._running(batch, query_id)
            if live is not None and batch.stage is CascadeStage.LIGHT:
                live.times.light_execution_s = execution_s
            elif live is not None:
                live.times.heavy_execution_s = execution_s
        now_s = time.monotonic()
        self._perform(self.balancer.device_released(batch.batch_id, execution_s, now_s))

    def _result(self, batch: Batch, result: worker_pb2.QueryResult) -> None:
        live = self._running(batch, result.query_id)
        if live is None or result.aborted:
            return  # answered already, or its client left
        now_s = time.monotonic()
        name = "no_image" if result.error else f"{batch.stage.value}_image"
        detail = result.error or ("" if name == "heavy_image" else score_text(result))
        live.story.add(name, now_s, self.balancer.plan_id, batch, detail)
        if result.error:
            actions = self.balancer.failed(batch.batch_id, result.query_id, result.error, now_s)
        elif batch.stage is CascadeStage.LIGHT:
            live.light = Drawing(result, batch.variant_id, batch.worker_id)
            live.times.scoring_s = result.scoring_s
            for watcher in self.watchers:
                watcher.light_image(live, now_s)
            percentile = result.percentile if result.HasField("percentile") else None
            actions = self.balancer.light_ready(batch.batch_id, result.query_id, percentile, now_s)
        else:
            live.heavy = Drawing(result, batch.variant_id, batch.worker_id)
            actions = self.balancer.heavy_ready(batch.batch_id, result.query_id, now_s)
        self._perform(actions)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _arm_timer(self) -> None:
        """Call ``tick`` when the balancer asks for it, or before."""
        wakeup_s = self.balancer.next_wakeup_s
        if wakeup_s is None:
            return
        if self._timer is not None:
            # Most queries end long before they are due: to be called in vain once in a while costs
            # less than a new timer for every query.
            if self._wakes_s <= wakeup_s:
                return
            self._timer.cancel()
        delay_s = max(0.0, wakeup_s - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)
        self._wakes_s = wakeup_s

    def _tick(self) -> None:
        self._timer = None
        self._perform(self.balancer.tick(time.monotonic()))


def _busy_s(error: DiffServeError) -> float:
    """Return after how long to try a worker again that others keep busy; 0 for other errors."""
    if isinstance(error, OverloadedError) and error.cause == WORKER_BUSY:
        return max(BUSY_MIN_S, EARLY * error.retry_after_s)
    return 0.0


def _tell_light_score(
    query: worker_pb2.BatchQuery, live: LiveQuery, *, is_shadow: bool = False
) -> None:
    """Send a light image's score with the query of its heavy image, where there is one."""
    if live.light is None or not live.light.result.HasField("confidence"):
        return
    query.light.CopyFrom(
        common_pb2.LightScore(
            cascade_id=live.cascade.cascade_id,
            discriminator=live.cascade.discriminator,
            confidence=live.light.result.confidence,
            percentile=live.light.result.percentile,
            is_shadow=is_shadow,
        )
    )
