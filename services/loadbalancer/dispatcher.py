"""Drives the pure balancer with real workers: performs its actions, reports events back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence

import grpc

from diffserve.core import Batch, Cascade, CascadeStage, Plan, Preference, Query
from diffserve.errors import AlreadyExistsError, UnavailableError
from diffserve.policy.actions import Abort, Action, Bypass, Defer, Finish, Launch, Shadow
from diffserve.policy.balancer import Balancer
from diffserve.rpc.v1 import common_pb2, generation_pb2, worker_pb2, worker_pb2_grpc
from services.loadbalancer.live import Drawing, LiveQuery, Records
from services.loadbalancer.workers import WorkerClients

logger = logging.getLogger(__name__)

REFUSALS = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
"""Codes with which a worker says that it did not take a batch, if it never said ``started``."""
EXECUTE_GRACE_S = 30.0
"""A batch may outlive its queries' deadlines by this much, then its call is ended."""


class Dispatcher:
    """Owns the state of every query of this load balancer. Lives on one event loop."""

    def __init__(self, balancer: Balancer, workers: WorkerClients, num_records_max: int) -> None:
        self.balancer = balancer
        self.records = Records(num_records_max)
        self._workers = workers
        self._live: dict[str, LiveQuery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    # -- clients ---------------------------------------------------------------------------

    def submit(
        self,
        query: Query,
        cascade: Cascade,
        parameters: common_pb2.GenerationParameters,
        *,
        is_streaming: bool,
    ) -> LiveQuery:
        """Take in a query; the caller waits for its ``done`` or reads its ``events``.

        Raises:
            UnavailableError: draining.
            AlreadyExistsError: the id is in use or remembered.
        """
        if self._is_draining:
            raise UnavailableError("this load balancer is draining; call another one")
        if query.query_id in self._live or query.query_id in self.records:
            raise AlreadyExistsError(f"query_id: {query.query_id} was used before")
        live = LiveQuery(query, cascade, parameters, query.arrival_s)
        live.events = asyncio.Queue() if is_streaming else None
        self._live[query.query_id] = live
        self._idle.clear()
        actions = self.balancer.submit(query, query.arrival_s)
        progress = self.balancer.progress(query.query_id)
        if is_streaming and progress is not None:
            self._emit_queued(live, progress.stage, query.arrival_s)
        self._perform(actions)
        return live

    def cancel(self, query_id: str) -> None:
        """Forget a query whose client left."""
        self._perform(self.balancer.cancel(query_id, time.monotonic()))

    def record(self, query_id: str) -> generation_pb2.QueryRecord | None:
        """Return where a query stands or how it ended; None when it is not known."""
        now_s = time.monotonic()
        live = self._live.get(query_id)
        progress = self.balancer.progress(query_id)
        if live is not None and progress is not None:
            return live.record(progress.phase.value, now_s)
        return self.records.get(query_id, now_s)

    async def drain(self) -> None:
        """Refuse new queries; return when every accepted one has its outcome."""
        self._is_draining = True
        await self._idle.wait()

    async def close(self) -> None:
        """Drop batches in progress."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()

    # -- plan and workers ------------------------------------------------------------------

    def apply_plan(self, plan: Plan) -> None:
        """Follow a plan, if it is newer than the one in force."""
        if plan.plan_id <= self.balancer.plan_id:
            return
        self._workers.follow(plan)
        self._perform(self.balancer.apply_plan(plan, time.monotonic()))

    def worker_found(self, worker_id: str) -> None:
        """Use a worker again."""
        self._perform(self.balancer.worker_found(worker_id, time.monotonic()))

    def worker_lost(self, worker_id: str) -> None:
        """Stop using a worker; its queries run elsewhere."""
        self._perform(self.balancer.worker_lost(worker_id, time.monotonic()))

    # -- actions ---------------------------------------------------------------------------

    def _perform(self, actions: Sequence[Action]) -> None:
        now_s = time.monotonic()
        for action in actions:
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
                case Abort(_, worker_id, query_id):
                    self._spawn(self._workers.abort(worker_id, query_id))
        self._arm_timer()

    def _launch(self, batch: Batch, now_s: float) -> None:
        request = worker_pb2.ExecuteRequest(
            batch_id=batch.batch_id, variant_id=batch.variant_id, plan_id=self.balancer.plan_id
        )
        for query_id in batch.query_ids:
            live = self._live[query_id]
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
            if live.events is not None:
                started = generation_pb2.StartedEvent(
                    variant_id=batch.variant_id,
                    worker_id=batch.worker_id,
                    batch_size=len(batch.query_ids),
                )
                live.emit(generation_pb2.GenerateEvent(started=started))
        # The stub is taken now: the next plan may drop this worker before the task starts.
        self._spawn(self._execute(batch, request, self._workers.stub(batch.worker_id)))

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
        self._spawn(self._execute(batch, request, self._workers.stub(batch.worker_id)))

    def _batch_query(
        self, live: LiveQuery, *, is_heavy: bool, now_s: float
    ) -> worker_pb2.BatchQuery:
        """Return a query for the wire; step and guidance wishes are for the final variant only."""
        parameters = live.parameters
        if not is_heavy and live.query.preference is not Preference.LIGHT:
            parameters = common_pb2.GenerationParameters()
            parameters.CopyFrom(live.parameters)
            parameters.ClearField("num_inference_steps")
            parameters.ClearField("guidance_scale")
        return worker_pb2.BatchQuery(
            query_id=live.query.query_id,
            parameters=parameters,
            budget_s=max(0.0, live.query.deadline_s - now_s),
        )

    def _defer(self, query_id: str, reason: str, now_s: float) -> None:
        live = self._live[query_id]
        live.waiting_since_s = now_s
        live.plan_id = self.balancer.plan_id
        live.emit_preview(reason)
        if live.events is not None:
            self._emit_queued(live, CascadeStage.HEAVY, now_s)

    def _finish(self, finish: Finish, now_s: float) -> None:
        live = self._live.pop(finish.query_id)
        live.finish = finish
        live.plan_id = self.balancer.plan_id
        live.times.total_s = now_s - live.query.arrival_s
        self.records.add(live, now_s)
        live.done.set()
        if live.events is not None and finish.outcome.is_answered:
            live.emit(generation_pb2.GenerateEvent(done=live.response()))
        elif live.events is not None:
            live.events.put_nowait(generation_pb2.GenerateEvent())  # wakes the reader: no answer
        logger.debug("query %s: %s (%s)", finish.query_id, finish.outcome.value, finish.reason)
        if not self._live:
            self._idle.set()

    def _emit_queued(self, live: LiveQuery, stage: CascadeStage, now_s: float) -> None:
        variant_id = live.cascade.variant_at(stage)
        ahead = self.balancer.pool(variant_id, stage).queue.num_ahead(live.query.deadline_s)
        queued = generation_pb2.QueuedEvent(
            variant_id=variant_id,
            position=max(0, ahead - 1),
            predicted_wait_s=self.balancer.predicted_wait_s(live.query.query_id, now_s),
        )
        live.emit(generation_pb2.GenerateEvent(queued=queued))

    # -- batches ---------------------------------------------------------------------------

    async def _execute(
        self,
        batch: Batch,
        request: worker_pb2.ExecuteRequest,
        stub: worker_pb2_grpc.WorkerAsyncStub,
    ) -> None:
        """Run one batch on its worker and report what comes back."""
        was_refused = False
        has_started = False
        is_worker_lost = False
        try:
            timeout_s = max(q.budget_s for q in request.queries) + EXECUTE_GRACE_S
            async for event in stub.Execute(request, timeout=timeout_s):
                has_started = True
                if event.HasField("released"):
                    self._released(batch, event.released.execution_s)
                elif event.HasField("result"):
                    self._result(batch, event.result)
        except grpc.aio.AioRpcError as error:
            was_refused = not has_started and error.code() in REFUSALS
            logger.warning(
                "batch %d on %s: %s %s",
                *(batch.batch_id, batch.worker_id, error.code().name, error.details()),
            )
            is_worker_lost = True
        finally:
            self._perform(
                self.balancer.batch_ended(
                    batch.batch_id,
                    time.monotonic(),
                    was_refused=was_refused,
                    is_worker_lost=is_worker_lost,
                )
            )
        if is_worker_lost:
            self._workers.suspect(batch.worker_id)

    def _released(self, batch: Batch, execution_s: float) -> None:
        for query_id in batch.query_ids:
            live = self._live.get(query_id)
            if live is not None and batch.stage is CascadeStage.LIGHT:
                live.times.light_execution_s = execution_s
            elif live is not None:
                live.times.heavy_execution_s = execution_s
        now_s = time.monotonic()
        self._perform(self.balancer.device_released(batch.batch_id, execution_s, now_s))

    def _result(self, batch: Batch, result: worker_pb2.QueryResult) -> None:
        live = self._live.get(result.query_id)
        if live is None or result.aborted:
            return  # answered already, or its client left
        now_s = time.monotonic()
        if result.error:
            actions = self.balancer.failed(batch.batch_id, result.query_id, result.error, now_s)
        elif batch.stage is CascadeStage.LIGHT:
            live.light = Drawing(result, batch.variant_id, batch.worker_id)
            live.times.scoring_s = result.scoring_s
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
        """Call ``tick`` when the balancer asks for it."""
        wakeup_s = self.balancer.next_wakeup_s
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wakeup_s is not None:
            self._timer = loop.call_later(max(0.0, wakeup_s - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._perform(self.balancer.tick(time.monotonic()))


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
