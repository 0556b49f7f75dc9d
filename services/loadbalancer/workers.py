"""Channels to the workers of the plan, and a watch on the health of each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from diffserve.core import Plan
from diffserve.errors import DiffServeError
from diffserve.rpc.channel import open_channel
from diffserve.rpc.status import from_bytes
from diffserve.rpc.streams import OpenStream
from diffserve.rpc.v1 import worker_pb2, worker_pb2_grpc

logger = logging.getLogger(__name__)

RECHECK_S = 0.2
"""Pause before a worker that refused or broke is looked at again."""
ABORT_TIMEOUT_S = 2.0
CLOSE_GRACE_S = 60.0
"""A worker that left the plan may still finish the batches it has."""


_Stream = OpenStream[worker_pb2.ExecuteRequest, worker_pb2.ExecuteEvent]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a batch ended without its results.

    Attributes:
        code: What a call of its own would have ended with.
        error: Says why.
        has_started: The worker had taken it.
    """

    code: grpc.StatusCode
    error: DiffServeError
    has_started: bool


@dataclass(slots=True)
class _Execution:
    """A batch that a worker has."""

    worker_id: str
    request: worker_pb2.ExecuteRequest
    stream: _Stream
    on_event: Callable[[worker_pb2.ExecuteEvent], None]
    on_ended: Callable[[Failure | None], None]
    timer: asyncio.TimerHandle
    has_started: bool = False


@dataclass(slots=True)
class _Client:
    address: str
    channel: grpc.aio.Channel
    stub: worker_pb2_grpc.WorkerAsyncStub
    watch: asyncio.Task[None]
    stream: _Stream | None = None


class WorkerClients:
    """One client per worker of the plan.

    The health watch is a stream: a killed worker is noticed when its connection breaks, a hung
    one when it reports NOT_SERVING, and both when they are back.
    """

    def __init__(self, message_bytes_max: int) -> None:
        self._message_bytes_max = message_bytes_max
        self._clients: dict[str, _Client] = {}
        self._executions: dict[int, _Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_found: Callable[[str], None] = lambda worker_id: None
        self.on_lost: Callable[[str], None] = lambda worker_id: None

    def follow(self, plan: Plan) -> None:
        """Open channels to new or moved workers; close those of workers that left the plan."""
        for worker_id in sorted(self._clients):
            worker = plan.workers.get(worker_id)
            if worker is None or worker.address != self._clients[worker_id].address:
                self._close(self._clients.pop(worker_id), grace_s=CLOSE_GRACE_S)
        for worker_id in sorted(plan.workers):
            if worker_id not in self._clients:
                self._open(worker_id, plan.workers[worker_id].address)

    def stub(self, worker_id: str) -> worker_pb2_grpc.WorkerAsyncStub:
        """Return the stub of a worker of the plan."""
        return self._clients[worker_id].stub

    def execute(
        self,
        worker_id: str,
        request: worker_pb2.ExecuteRequest,
        timeout_s: float,
        on_event: Callable[[worker_pb2.ExecuteEvent], None],
        on_ended: Callable[[Failure | None], None],
    ) -> None:
        """Have a worker of the plan run a batch.

        Args:
            worker_id: Which.
            request: The batch; its ``batch_id`` is used once.
            timeout_s: When to give it up.
            on_event: Gets every event, in order.
            on_ended: Gets None after the last one, or why there are no more; called once.
        """
        stream = self._stream(worker_id)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(timeout_s, self._overdue, request.batch_id)
        self._executions[request.batch_id] = _Execution(
            worker_id, request, stream, on_event, on_ended, timer
        )
        stream.send(request)

    def suspect(self, worker_id: str) -> None:
        """Stop using a worker that broke or refused a batch, until a fresh look finds it well."""
        client = self._clients.get(worker_id)
        if client is None:
            return
        self.on_lost(worker_id)
        client.watch.cancel()
        client.watch = asyncio.create_task(
            self._watch(worker_id, client.channel, pause_s=RECHECK_S)
        )

    async def abort(self, worker_id: str, query_ids: Sequence[str]) -> None:
        """Stop queries of running batches; a worker that is gone has stopped anyway."""
        client = self._clients.get(worker_id)
        if client is None:
            return
        with contextlib.suppress(grpc.aio.AioRpcError):
            request = worker_pb2.AbortRequest(query_ids=query_ids)
            await client.stub.Abort(request, timeout=ABORT_TIMEOUT_S)

    async def close(self) -> None:
        """Drop batches in progress and close every channel."""
        while self._executions:  # more may end while one is closed
            _, execution = self._executions.popitem()
            execution.timer.cancel()
            await execution.stream.close()
        for worker_id in sorted(self._clients):
            self._close(self._clients.pop(worker_id), grace_s=None)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _open(self, worker_id: str, address: str) -> None:
        # Queries of a batch that did not reach its worker may go to another one by now.
        channel = open_channel(address, self._message_bytes_max, retries=False)
        self._clients[worker_id] = _Client(
            address=address,
            channel=channel,
            stub=worker_pb2_grpc.WorkerStub(channel),
            watch=asyncio.create_task(self._watch(worker_id, channel, pause_s=0.0)),
        )

    def _close(self, client: _Client, grace_s: float | None) -> None:
        client.watch.cancel()
        if client.stream is not None:
            client.stream.finish()
        self._spawn(client.channel.close(grace_s))

    def _stream(self, worker_id: str) -> _Stream:
        client = self._clients[worker_id]
        if client.stream is None or not client.stream.is_open:
            client.stream = OpenStream(client.stub.ExecuteMany, self._happened, self._broken)
        return client.stream

    def _happened(self, message: worker_pb2.ExecuteEvent) -> None:
        for event in (message, *message.also):
            execution = self._executions.get(event.batch_id)
            if execution is None:
                continue  # it was given up
            if not event.HasField("ended"):
                execution.has_started = True
                execution.on_event(event)
            elif event.ended.status:
                code, error = from_bytes(event.ended.status)
                self._end(event.batch_id, code, error)
            else:
                self._end(event.batch_id)

    def _broken(self, stream: _Stream, code: grpc.StatusCode, details: str) -> None:
        for batch_id in [b for b, e in self._executions.items() if e.stream is stream]:
            self._end(batch_id, code, DiffServeError(f"{code.name}: {details}"))

    def _overdue(self, batch_id: int) -> None:
        execution = self._executions[batch_id]
        query_ids = [query.query_id for query in execution.request.queries]
        self._spawn(self.abort(execution.worker_id, query_ids))
        late = DiffServeError("no answer long after the queries' deadlines")
        self._end(batch_id, grpc.StatusCode.DEADLINE_EXCEEDED, late)

    def _end(
        self,
        batch_id: int,
        code: grpc.StatusCode = grpc.StatusCode.OK,
        error: DiffServeError | None = None,
    ) -> None:
        execution = self._executions.pop(batch_id)
        execution.timer.cancel()
        failure = Failure(code, error, execution.has_started) if error is not None else None
        execution.on_ended(failure)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self, worker_id: str, channel: grpc.aio.Channel, pause_s: float) -> None:
        """Report found and lost for as long as the worker is in the plan."""
        await asyncio.sleep(pause_s)
        stub = health_pb2_grpc.HealthStub(channel)
        is_well: bool | None = None
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for state in stub.Watch(health_pb2.HealthCheckRequest()):
                    is_serving = state.status == health_pb2.HealthCheckResponse.SERVING
                    is_well = self._report(worker_id, is_well, is_serving)
            is_well = self._report(worker_id, is_well, False)
            await asyncio.sleep(RECHECK_S)

    def _report(self, worker_id: str, was_well: bool | None, is_well: bool) -> bool:
        if is_well and was_well is not True:
            logger.info("worker %s is serving", worker_id)
            self.on_found(worker_id)
        elif not is_well and was_well is not False:
            logger.warning("worker %s is not serving", worker_id)
            self.on_lost(worker_id)
        return is_well
