"""Finds a query: asks every load balancer that follows the plans."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc

from diffserve.errors import NotFoundError, UnavailableError
from diffserve.rpc.channel import open_channel
from diffserve.rpc.v1 import admin_pb2, generation_pb2, generation_pb2_grpc

TIMEOUT_S = 2.0


async def find_query(
    query_id: str, loadbalancers: Sequence[tuple[str, str]]
) -> admin_pb2.FindQueryResponse:
    """Return the record of a query from the load balancer that has it.

    Args:
        query_id: Which query.
        loadbalancers: Name and address of each to ask.

    Raises:
        NotFoundError: nobody knows it.
        UnavailableError: nobody who answers knows it, but some do not answer.
    """
    asked = sorted(set(loadbalancers))
    if not asked:
        raise UnavailableError("no load balancer follows this controller")
    answers = await asyncio.gather(*(_ask(query_id, address) for _, address in asked))
    silent = []
    for (name, address), answer in zip(asked, answers, strict=True):
        if isinstance(answer, generation_pb2.QueryRecord):
            return admin_pb2.FindQueryResponse(record=answer, loadbalancer_id=name, address=address)
        if answer.code() is not grpc.StatusCode.NOT_FOUND:
            silent.append(f"{name} at {address} ({answer.code().name})")
    if silent:
        raise UnavailableError(
            f"query_id: {query_id!r} may be with a load balancer that does not answer: "
            f"{', '.join(silent)}"
        )
    names = ", ".join(name for name, _ in asked)
    raise NotFoundError(f"query_id: {query_id!r} is not known (any more) to {names}")


async def _ask(query_id: str, address: str) -> generation_pb2.QueryRecord | grpc.aio.AioRpcError:
    async with open_channel(address) as channel:
        stub = generation_pb2_grpc.ImageGenerationStub(channel)
        try:
            request = generation_pb2.GetQueryRequest(query_id=query_id)
            return await stub.GetQuery(request, timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return error
