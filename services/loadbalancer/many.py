"""Many calls of ``Generate`` on one stream that stays open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from diffserve.errors import BackendError, DiffServeError, InputError
from diffserve.observability.propagation import incoming
from diffserve.rpc.status import to_bytes
from diffserve.rpc.streams import Outbox
from diffserve.rpc.v1 import generation_pb2
from services.loadbalancer.door import Door

logger = logging.getLogger(__name__)

Replies = Outbox[generation_pb2.GenerateManyResponse]


class ManyCalls:
    """The calls of one stream."""

    def __init__(self, door: Door, budget_s: Callable[[], float]) -> None:
        """Start without any.

        Args:
            door: Where they knock.
            budget_s: Returns the seconds that the stream's own deadline leaves.
        """
        self._door = door
        self._budget_s = budget_s
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def answer(self, request: generation_pb2.GenerateManyRequest, replies: Replies) -> None:
        """Answer a call once, unless its caller leaves; runs as a task of its own."""
        call_id = request.call_id
        if request.HasField("leave"):
            if call_id in self._tasks:
                self._tasks[call_id].cancel()
            return
        reply = generation_pb2.GenerateManyResponse(call_id=call_id)
        try:
            reply.response.CopyFrom(await self._answered(request))
        except DiffServeError as error:
            reply.status = to_bytes(error)
        except Exception:
            # It would break the stream, and with it every other call.
            logger.exception("a call of a stream failed")
            reply.status = to_bytes(BackendError("the load balancer failed at this call"))
        replies.send(reply)

    async def _answered(
        self, request: generation_pb2.GenerateManyRequest
    ) -> generation_pb2.GenerateResponse:
        call_id = request.call_id
        if not request.HasField("begin"):
            raise InputError("call", "is neither `begin` nor `leave`")
        if call_id in self._tasks:
            raise InputError("call_id", f"{call_id} is that of a call that is not over")
        task = asyncio.current_task()
        assert task is not None
        self._tasks[call_id] = task
        try:
            incoming.set(request.traceparent)
            return await self._door.answer(request.begin, self._budget_s())
        finally:
            del self._tasks[call_id]
