"""Channels to the workers of the plan, and a watch on the health of each."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import Enum

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from diffserve.core import Plan
from diffserve.errors import DiffServeError
from diffserve.rpc.channel import open_channel
from diffserve.rpc.status import from_bytes
from diffserve.rpc.streams import OpenStream, split
from diffserve.rpc.v1 import worker_pb2, worker_pb2_grpc

logger = logging.getLogger(__name__)

RECHECK_S = 0.2
"""Pause before a worker that refused or broke is looked at again."""
ABORT_TIMEOUT_S = 2.0
DESCRIBE_TIMEOUT_S = 1.0
KEEPALIVE_S = 1.5
"""A worker that is frozen or cut off loses its queries after twice that."""
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
    watch: asyncio.Task[None] | None = None
    stream: _Stream | None = None


class _State(Enum):
    """What is known of a worker; the value completes a log line."""

    SERVING = "serving"
    FINISHING = "taking no batches"
    LOST = "not serving"


class WorkerClients:
    """One client per worker of the plan.

    The health watch is a stream: a killed worker is noticed when its connection breaks, a hung
    one when it reports NOT_SERVING, and both when they are back. One that drains reports
    NOT_SERVING, too, but finishes what it has.

    Attributes:
        on_found: Gets the id of a worker that serves.
        on_lost: Gets the id of one that does not, and whether it still finishes its batches.
    """

    def __init__(self, message_bytes_max: int, loadbalancer_id: str) -> None:
        self._message_bytes_max = message_bytes_max
        self._loadbalancer_id = loadbalancer_id
        self._clients: dict[str, _Client] = {}
        self._executions: dict[int, _Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_found: Callable[[str], None] = lambda worker_id: None
        self.on_lost: Callable[[str, bool], None] = lambda worker_id, finishes: None

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
        request.loadbalancer_id = self._loadbalancer_id
        loop = asyncio.get_running_loop()
        timer = loop.call_later(timeout_s, self._overdue, request.batch_id)
        self._executions[request.batch_id] = _Execution(
            worker_id, request, stream, on_event, on_ended, timer
        )
        stream.send(request)

    def suspect(self, worker_id: str) -> None:
        """Stop using a worker that broke or refused a batch, until a fresh look finds it well.

        Whatever else it has ends by itself, or with its stream.
        """
        client = self._clients.get(worker_id)
        if client is None:
            return
        self.on_lost(worker_id, True)
        if client.watch is not None:
            client.watch.cancel()
        client.watch = asyncio.create_task(self._watch(worker_id, client, pause_s=RECHECK_S))

    async def abort(self, worker_id: str, batch_id: int, query_ids: Sequence[str]) -> None:
        """Stop queries of a running batch; a worker that is gone has stopped anyway."""
        client = self._clients.get(worker_id)
        if client is None:
            return
        with contextlib.suppress(grpc.aio.AioRpcError):
            request = worker_pb2.AbortRequest(
                query_ids=query_ids, batch_id=batch_id, loadbalancer_id=self._loadbalancer_id
            )
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
        channel = open_channel(
            address, self._message_bytes_max, retries=False, keepalive_s=KEEPALIVE_S
        )
        stub = worker_pb2_grpc.WorkerStub(channel)
        client = self._clients[worker_id] = _Client(address=address, channel=channel, stub=stub)
        client.watch = asyncio.create_task(self._watch(worker_id, client, pause_s=0.0))

    def _close(self, client: _Client, grace_s: float | None) -> None:
        if client.watch is not None:
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
        for event in split(message):
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
        self._spawn(self.abort(execution.worker_id, batch_id, query_ids))
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

    async def _watch(self, worker_id: str, client: _Client, pause_s: float) -> None:
        """Report found and lost for as long as the worker is in the plan."""
        await asyncio.sleep(pause_s)
        stub = health_pb2_grpc.HealthStub(client.channel)
        state: _State | None = None
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for report in stub.Watch(health_pb2.HealthCheckRequest()):
                    if report.status == health_pb2.HealthCheckResponse.SERVING:
                        state = self._report(worker_id, state, _State.SERVING)
                        continue
                    state = self._report(worker_id, state, _State.FINISHING)
                    if not await _drains(client):
                        state = self._report(worker_id, state, _State.LOST)
            state = self._report(worker_id, state, _State.LOST)
            await asyncio.sleep(RECHECK_S)

    def _report(self, worker_id: str, before: _State | None, now: _State) -> _State:
        if now is before:
            return now
        if now is _State.SERVING:
            logger.info("worker %s is serving", worker_id)
            self.on_found(worker_id)
        else:
            logger.warning("worker %s is %s", worker_id, now.value)
            self.on_lost(worker_id, now is _State.FINISHING)
        return now


async def _drains(client: _Client) -> bool:
    """Return whether a worker that takes no batches finishes those it has."""
    request = worker_pb2.DescribeRequest()
    try:
        return (await client.stub.Describe(request, timeout=DESCRIBE_TIMEOUT_S)).draining
    except grpc.aio.AioRpcError:
        return False
