"""The gRPC face of the worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from diffserve.errors import DiffServeError, UnavailableError
from diffserve.rpc import status
from diffserve.rpc.streams import Outbox, answer_many, join
from diffserve.rpc.v1 import worker_pb2, worker_pb2_grpc
from services.worker.application import WorkerApplication
from services.worker.batch import known_variant, parse_batch
from services.worker.runs import BatchRun
from services.worker.tracing import RunTrace

Context = grpc.aio.ServicerContext[Any, Any]

TOGETHER_S = 0.001
"""A batch that takes no longer tells of its beginning and its end in one message."""


class WorkerServicer(worker_pb2_grpc.WorkerServicer):
    """Translates between messages and the executor."""

    def __init__(self, application: WorkerApplication) -> None:
        self._application = application
        self._executor = application.executor

    @status.streaming
    async def Execute(
        self, request: worker_pb2.ExecuteRequest, context: Context
    ) -> AsyncIterator[worker_pb2.ExecuteEvent]:
        """Run one batch; see the protocol."""
        run = self._accepted(request)
        # Not a `finally`: a generator that is cancelled while its answer is being sent ends late.
        # The stub types its argument as a class where grpc takes any callable.
        context.add_done_callback(lambda _: self._executor.close(run))  # type: ignore[arg-type]
        async for event in self._events(run):
            yield event

    async def ExecuteMany(  # type: ignore[override]  # grpc takes coroutines that write, too
        self, request_iterator: AsyncIterator[worker_pb2.ExecuteRequest], context: Context
    ) -> None:
        """Run every batch of an open stream; see the protocol."""
        await answer_many(context, self._execute, join)

    async def _execute(
        self, request: worker_pb2.ExecuteRequest, outbox: Outbox[worker_pb2.ExecuteEvent]
    ) -> None:
        try:
            run = self._accepted(request)
        except DiffServeError as error:
            why = status.to_bytes(error)
            outbox.send(_ended(request.batch_id, why))
            return
        try:
            async for event in self._events(run):
                event.batch_id = request.batch_id
                outbox.send(event)
            outbox.send(_ended(request.batch_id))
            await outbox.sent()  # a worker that drains ends once its batches are closed
        finally:
            self._executor.close(run)

    def _accepted(self, request: worker_pb2.ExecuteRequest) -> BatchRun:
        """Return a batch that will run, or be closed.

        Raises:
            UnavailableError: draining, or the device hangs.
            InputError: a field is out of bounds.
            OverloadedError: busy.
            ConfigError: the variant is not resident.
        """
        if self._executor.is_draining or self._application.is_hung:
            why = "draining" if self._executor.is_draining else "the device hangs"
            raise UnavailableError(f"worker takes no batches: {why}")
        run = self._executor.submit(parse_batch(request, self._application.catalog))
        tracing = self._application.tracing
        if tracing is not None:
            run.trace = RunTrace(tracing, run.spec, request.plan_id)
        return run

    async def _events(self, run: BatchRun) -> AsyncIterator[worker_pb2.ExecuteEvent]:
        await run.started.wait()
        is_short = False
        if run.started_s is not None:
            if not run.spec.reports_progress:
                is_short = await _is_over_soon(run)
            staged_s = run.started_s - run.accepted_s
            started = worker_pb2.ExecutionStarted(staged_s=staged_s)
            yield worker_pb2.ExecuteEvent(started=started)
        async for progress in _progress(run):
            yield worker_pb2.ExecuteEvent(progress=progress)
        if run.started_s is not None:
            released = worker_pb2.DeviceReleased(execution_s=run.execution.execution_s)
            yield worker_pb2.ExecuteEvent(released=released)
            if not is_short:
                # The next batch is on its way while the images of this one are encoded.
                await asyncio.sleep(0)
        async for results in self._application.answers.of(run):
            for result in results:
                yield worker_pb2.ExecuteEvent(result=result)

    @status.unary
    async def Abort(
        self, request: worker_pb2.AbortRequest, context: Context
    ) -> worker_pb2.AbortResponse:
        """Stop single queries."""
        num_aborted = self._executor.abort(
            request.loadbalancer_id, request.batch_id, frozenset(request.query_ids)
        )
        return worker_pb2.AbortResponse(num_aborted=num_aborted)

    @status.unary
    async def Assign(
        self, request: worker_pb2.AssignRequest, context: Context
    ) -> worker_pb2.AssignResponse:
        """Make a variant resident and ready."""
        catalog = self._application.catalog
        variant = known_variant(catalog, request.variant_id)
        coresident = [known_variant(catalog, variant_id) for variant_id in request.coresident]
        load_s = await self._executor.assign(variant, request.plan_id, coresident)
        self._application.membership.announce()
        return worker_pb2.AssignResponse(load_s=load_s, resident=self._executor.residency.resident)

    @status.unary
    async def Drain(
        self, request: worker_pb2.DrainRequest, context: Context
    ) -> worker_pb2.DrainResponse:
        """Finish accepted batches and take no others, or take them again."""
        if request.resume:
            self._executor.resume()
            self._application.membership.announce()
            return worker_pb2.DrainResponse()
        self._executor.is_draining = True
        self._application.membership.announce()
        return worker_pb2.DrainResponse(num_finished=await self._executor.drain())

    @status.unary
    async def Restart(
        self, request: worker_pb2.RestartRequest, context: Context
    ) -> worker_pb2.RestartResponse:
        """Finish accepted batches, then end the process."""
        num_running = self._executor.num_accepted
        exit_status = self._application.restart()
        return worker_pb2.RestartResponse(exit_status=exit_status, num_running=num_running)

    @status.unary
    async def Describe(
        self, request: worker_pb2.DescribeRequest, context: Context
    ) -> worker_pb2.DescribeResponse:
        """Tell what this worker is and has."""
        memory = self._application.backends.memory()
        return worker_pb2.DescribeResponse(
            worker_id=self._application.worker_id,
            device=self._application.backends.device,
            resident=self._executor.residency.resident,
            assigned=self._executor.assigned,
            plan_id=self._executor.plan_id,
            draining=self._executor.is_draining and not self._application.is_hung,
            memory_used_bytes=memory.used_bytes,
            memory_total_bytes=memory.total_bytes,
            latencies=self._executor.latencies.samples(),
            num_batches=self._executor.num_batches,
        )


def _ended(batch_id: int, why: bytes = b"") -> worker_pb2.ExecuteEvent:
    return worker_pb2.ExecuteEvent(batch_id=batch_id, ended=worker_pb2.BatchEnded(status=why))


async def _is_over_soon(run: BatchRun) -> bool:
    """Return whether the device is done with a batch almost as soon as it began."""
    timer = asyncio.get_running_loop().call_later(TOGETHER_S, run.stirred.set)
    await run.stirred.wait()
    timer.cancel()
    return run.released.is_set()


async def _progress(run: BatchRun) -> AsyncIterator[worker_pb2.StepProgress]:
    """Yield the steps of a batch as they are reported, until the device is done with it."""
    while True:
        await run.stirred.wait()
        run.stirred.clear()
        if run.released.is_set():
            return
        if run.steps is not None:
            yield worker_pb2.StepProgress(step=run.steps[0], num_steps=run.steps[1])
